"""The series in memory: joined, cut and summed."""

from typing import Any

import pytest

from celery_fleet.console.history import COUNTS, LINES, join, step_for, tail, total
from celery_fleet.store.figures import QueueSeries, Series


def lines(*succeeded: int, **more: Any) -> QueueSeries:
    known = {"succeeded": list(succeeded), **more}
    empty = {name: [0 if name in COUNTS else None] * len(succeeded) for name in LINES}
    return QueueSeries(**{**empty, **known})


def test_what_was_read_again_takes_the_place_of_what_was_known() -> None:
    old = Series([0, 10, 20], {"a": lines(1, 2, 3), "gone": lines(5, 5, 5)})
    new = Series([20, 30], {"a": lines(7, 8), "new": lines(0, 9, oldest=[None, 4.0])})
    found = join(old, new, 10)
    assert found.at == [0, 10, 20, 30]
    assert {name: each.succeeded for name, each in found.queues.items()} == {
        "a": [1, 2, 7, 8],
        "gone": [5, 5, 0, 0],
        "new": [0, 0, 0, 9],
    }
    assert found.queues["new"].oldest == [None, None, None, 4.0]
    assert found.queues["gone"].backlog == [None] * 4
    assert {len(getattr(each, name)) for each in found.queues.values() for name in LINES} == {4}


def test_only_the_newest_steps_are_kept() -> None:
    found = join(Series([0, 10], {"a": lines(1, 2)}), Series([20], {"a": lines(3)}), 2)
    assert (found.at, found.queues["a"].succeeded) == ([10, 20], [2, 3])
    assert tail(found, 1).queues["a"].succeeded == [3]


def test_sums_and_the_longest_times() -> None:
    one = lines(1, 2, wait_p95=[1.5, None], backlog=[3, None], oldest=[9.0, None])
    two = lines(4, 0, wait_p95=[0.5, 2.0], backlog=[None, None], oldest=[10.0, None])
    found = total({"a": one, "b": two}, 2)
    assert (found.succeeded, found.wait_p95) == ([5, 2], [1.5, 2.0])
    assert (found.backlog, found.oldest) == ([3, None], [10.0, None])
    nothing = total({}, 2)
    assert (nothing.succeeded, nothing.backlog) == ([0, 0], [None, None])


@pytest.mark.parametrize(
    ("minutes", "step"), [(1, 10), (15, 10), (120, 10), (121, 300), (1440, 300), (11520, 1800)]
)
def test_steps(minutes: int, step: int) -> None:
    assert step_for(minutes) == step
