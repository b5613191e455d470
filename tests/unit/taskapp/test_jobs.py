import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskapp.diagnostics import allocate, sleep
from taskapp.jobs import calculate, factors, process


@given(st.integers(1, 10**7))
def test_the_factors_are_primes_whose_product_is_the_number(number: int) -> None:
    found = factors(number)
    assert math.prod(found) == number
    assert found == sorted(found)
    assert all(factors(prime) == [prime] for prime in found)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30))
def test_statistics_of_numbers(numbers: list[float]) -> None:
    result = calculate(numbers)["result"]
    assert (result["count"], result["minimum"], result["maximum"]) == (
        len(numbers),
        min(numbers),
        max(numbers),
    )
    assert result["sum"] == math.fsum(numbers)


@pytest.mark.parametrize("data", [0, -1, 10**12 + 1, [], [1, "x"], [math.inf], "999x", None])
def test_what_cannot_be_calculated_is_refused(data: Any) -> None:
    assert calculate(data)["status"] == "error"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_value_is_processed_and_known_by_its_digest(value: Any) -> None:
    first, again, wrapped = process(value)["result"], process(value)["result"], process([value])["result"]
    assert first == again
    assert wrapped["sha256"] != first["sha256"]
    assert wrapped["items"] == 1


def test_a_text_is_counted() -> None:
    result = process("b a b")["result"]
    assert (result["words"], result["most_common"][0]) == (3, ("b", 2))


def test_memory_is_really_filled() -> None:
    before = allocate(0)["result"]["resident_megabytes"]
    # What earlier tests left behind may be given back meanwhile.
    assert allocate(256)["result"]["resident_megabytes"] >= before + 200
    assert allocate(10**9)["status"] == "error"


def test_sleep_is_bounded() -> None:
    assert sleep(0.05)["result"]["seconds"] >= 0.05
    assert sleep(-1)["status"] == sleep(10**6)["status"] == "error"
