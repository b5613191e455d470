import ast
from array import array
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import given, settings
from hypothesis import strategies as st

from taskapp import gather
from taskapp.errors import CancelledError
from taskapp.gather import automated_gather_creation, create, output_path
from taskapp.seismogram import Stack, Survey, npy_header, ricker, travel_time

SMALL = Survey(events=2, stations=6, samples=200, interval_ms=4.0, noise=0.1, seed=1)


def nothing(done: int, total: int) -> None:
    pass


def test_a_wavelet_has_its_peak_in_the_middle() -> None:
    assert ricker(0) == 1
    assert all(abs(ricker(step / 1000)) < 1 for step in (*range(-60, 0), *range(1, 61)))


def test_a_reflection_arrives_later_at_farther_stations() -> None:
    times = [travel_time(0.5, station) for station in range(20)]
    assert times[0] == 0.5
    assert times == sorted(set(times))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple))
def test_the_header_is_that_of_a_npy_file(shape: tuple[int, ...]) -> None:
    header = npy_header(shape)
    assert header[:8] == b"\x93NUMPY\x01\x00"
    assert len(header) % 64 == 0
    assert len(header) == 10 + int.from_bytes(header[8:10], "little")
    assert ast.literal_eval(header[10:].decode()) == {"descr": "<f4", "fortran_order": False, "shape": shape}


@settings(max_examples=15, deadline=None)
@given(event=st.integers(0, 50), seed=st.integers(0, 2**31))
def test_the_stack_finds_the_reflection_in_noise_as_strong_as_itself(event: int, seed: int) -> None:
    survey = Survey(events=51, stations=60, samples=300, interval_ms=4.0, noise=1.0, seed=seed)
    stack = Stack(survey, event)
    for station, trace in enumerate(survey.traces(event)):
        stack.add(trace, station)
    time, amplitude = stack.peak()
    assert time == pytest.approx(survey.reflection_time(event), abs=0.013)
    assert amplitude == pytest.approx(1, abs=0.6)


def test_the_file_holds_every_trace_of_every_event(tmp_path: Path) -> None:
    path = tmp_path / "gather.npy"
    peaks = create(path, SMALL, nothing)
    header = npy_header((2, 6, 200))
    content = path.read_bytes()
    assert content[: len(header)] == header
    values = array("f", content[len(header) :])
    expected = [value for event in range(2) for trace in SMALL.traces(event) for value in trace]
    assert list(values) == expected
    assert [peak["time"] for peak in peaks] == pytest.approx(
        [SMALL.reflection_time(e) for e in range(2)], abs=0.005
    )


def test_the_same_parameters_give_the_same_file_which_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = automated_gather_creation(events=1, samples=50)["result"]
    content = Path(first["path"]).read_bytes()
    assert first["computed"] is True
    monkeypatch.setattr(gather, "create", lambda *_: pytest.fail("computed again"))
    again = automated_gather_creation(samples=50, events=1, memory_mb=1)["result"]
    assert (again["path"], again["computed"]) == (first["path"], False)
    monkeypatch.undo()
    assert content == Path(first["path"]).read_bytes()


def test_any_parameter_changes_the_files_name(tmp_path: Path) -> None:
    changed = [replace(SMALL, **{name: value + 1}) for name, value in asdict(SMALL).items()]
    assert len({output_path(tmp_path, survey) for survey in [SMALL, *changed]}) == 7


def test_two_computations_agree_to_the_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        create(tmp_path / name, SMALL, nothing)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, CancelledError, MemoryError])
def test_an_interruption_between_two_traces_leaves_no_file(tmp_path: Path, error: type[Exception]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 7:
            raise error
        assert total == 12

    with pytest.raises(error):
        create(tmp_path / "gather.npy", SMALL, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_soft_time_limit_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def exceed(*_: object) -> None:
        attempts.append(1)
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(gather, "create", exceed)
    result = automated_gather_creation.apply(kwargs={"events": 1})
    assert len(attempts) == 4
    assert isinstance(result.result, SoftTimeLimitExceeded)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"events": 0},
        {"stations": 10**6},
        {"events": 10_000, "stations": 1000, "samples": 1000},
        {"noise": float("nan")},
    ],
)
def test_what_is_too_large_or_senseless_is_refused(kwargs: dict[str, float], state_dir: Path) -> None:
    assert automated_gather_creation(**kwargs)["status"] == "error"
    assert list(state_dir.iterdir()) == []
