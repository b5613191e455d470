import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery.contrib.abortable import ABORTED
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.worker import state as worker_state

from taskapp import operation
from taskapp.diagnostics import echo, fail
from taskapp.errors import CancelledError, TransientError
from taskapp.jobs import calculate
from taskapp.mail import send_confirmation
from taskapp.operation import Checkpoint


def test_a_result_comes_in_an_envelope() -> None:
    assert calculate(999) == {"status": "success", "result": {"number": 999, "factors": [3, 3, 3, 37]}}


def test_a_fatal_error_is_logged_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        result = fail.apply(kwargs={"how": "fatal", "message": "no such thing"})
    assert (result.state, result.result) == ("SUCCESS", {"status": "error", "message": "no such thing"})
    assert "Fatal error in taskapp.diagnostics.fail: no such thing" in caplog.text


def test_a_transient_error_is_retried_three_times_and_then_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def go_wrong(*_: Any) -> None:
        attempts.append(1)
        raise TransientError("later")

    monkeypatch.setattr("taskapp.diagnostics.identity", go_wrong)
    result = echo.apply()
    assert len(attempts) == 4
    assert isinstance(result.result, TransientError)


def test_an_unforeseen_exception_is_a_failure() -> None:
    result = fail.apply()
    assert (result.state, str(result.result)) == ("FAILURE", "on purpose")


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"fir_id": "a/b", "recipient": "someone@example.org"}, "fir_id"),
        ({"fir_id": "a", "recipient": "secret-person"}, "recipient"),
        ({"fir_id": "a", "recipient": "someone@example.org", "summary": "two\nlines"}, "summary"),
        ({"fir_id": "a", "unknown": 1}, "unknown"),
        ({}, "fir_id"),
    ],
)
def test_bad_parameters_are_told_by_name_without_their_values(
    kwargs: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = send_confirmation.run(**kwargs)
    assert answer["status"] == "error"
    assert answer["message"].startswith(f"{problem}: ")
    for value in kwargs.values():
        if isinstance(value, str) and len(value) > 2:
            assert value not in answer["message"] + caplog.text


def test_a_process_that_is_not_a_pools_child_is_not_killed() -> None:
    assert "prefork" in fail(how="killed")["message"]


def test_echo_tells_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_FLEET_POOL", "default")
    result = echo([1, "two"])["result"]
    assert (result["value"], result["pool"], result["release"]) == ([1, "two"], "default", None)


class FakeTask:
    """What a checkpoint sees of a task."""

    def __init__(self, state: str | Exception = "STARTED", **request: Any) -> None:
        self.request = SimpleNamespace(**{"id": "t1", "called_directly": False, "is_eager": False} | request)
        self.state = state
        self.asked = 0
        self.updates: list[dict[str, int]] = []

    def AsyncResult(self, _task_id: str) -> Any:  # noqa: N802
        self.asked += 1
        if isinstance(self.state, Exception):
            raise self.state
        return SimpleNamespace(state=self.state)

    def update_state(self, state: str, meta: dict[str, int]) -> None:
        assert state == "PROGRESS"
        self.updates.append(meta)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(operation.time, "monotonic", lambda: clock.now)
    return clock


def test_progress_is_reported_once_per_interval(clock: SimpleNamespace) -> None:
    task = FakeTask()
    checkpoint = Checkpoint(task)
    for done in range(30):
        clock.now = done / 10
        checkpoint(done, 30)
    assert task.updates == [{"done": done, "total": 30} for done in (0, 10, 20)]
    assert task.asked == 3


@pytest.mark.parametrize("state", [ABORTED, "REVOKED"])
def test_a_cancelled_task_stops_and_its_state_is_not_overwritten(state: str) -> None:
    task = FakeTask(state)
    with pytest.raises(CancelledError):
        Checkpoint(task)(1, 2)
    assert task.updates == []


def test_a_task_revoked_in_this_process_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_state, "revoked", {"t1"})
    with pytest.raises(CancelledError):
        Checkpoint(FakeTask())(1, 2)


@pytest.mark.parametrize("request_", [{"called_directly": True}, {"is_eager": True}])
def test_without_a_worker_nobody_is_asked(request_: dict[str, bool]) -> None:
    task = FakeTask(**request_)
    Checkpoint(task)(1, 2)
    assert task.asked == 0


def test_a_backend_that_is_away_does_not_end_the_task_and_is_left_alone(clock: SimpleNamespace) -> None:
    task = FakeTask(ConnectionError("gone"))
    checkpoint = Checkpoint(task)
    for done in range(61):
        clock.now = done
        checkpoint(done, 61)
    assert task.asked == 2


def test_a_soft_time_limit_is_not_swallowed() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        Checkpoint(FakeTask(SoftTimeLimitExceeded()))(1, 2)


def test_a_cancelled_task_ends_as_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    revoked = []

    def cancel(*_: Any) -> None:
        raise CancelledError("aborted")

    def mark_as_revoked(_task_id: str, *, reason: str, **_: Any) -> None:
        revoked.append(reason)

    monkeypatch.setattr("taskapp.diagnostics.identity", cancel)
    monkeypatch.setattr(echo.backend, "mark_as_revoked", mark_as_revoked)
    with pytest.raises(Ignore):
        echo.run()
    assert revoked == ["aborted"]
