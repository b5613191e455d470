"""The pure parts of the console's frame: limits, settings, errors, what is said of tasks."""

from typing import Any

import pytest
from pydantic import ValidationError

from celery_fleet.console.errors import _field_problem
from celery_fleet.console.frame import request_id
from celery_fleet.console.limits import Buckets
from celery_fleet.console.models.common import Model, Moment, moment
from celery_fleet.console.models.tasks import Submission, TaskQuery
from celery_fleet.console.settings import Settings
from celery_fleet.console.tasks.cancel import message, previous, why_not
from celery_fleet.console.tasks.idempotency import canonical
from celery_fleet.console.tasks.metrics import share
from celery_fleet.console.tasks.records import summary
from celery_fleet.console.tasks.submit import _accepting
from celery_fleet.console.tasks.task import Result, ids_of, shown, true_status
from celery_fleet.service.cancel import Cancelled
from celery_fleet.store.catalogue import Parameter, TaskType, misfits
from celery_fleet.store.figures import Totals
from celery_fleet.store.index import TaskRecord


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(10, 20, clock)
    assert [buckets.take("a") for _ in range(20)] == [0] * 20
    assert buckets.take("a") == pytest.approx(0.1)
    assert buckets.take("b") == 0
    clock.now = 0.1
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    clock.now = 1000.0
    assert [buckets.take("a") for _ in range(20)] == [0] * 20


def test_a_rate_of_nothing_is_no_limit() -> None:
    buckets = Buckets(0, 0)
    buckets.fine("a", 100)
    assert {buckets.take("a") for _ in range(100)} == {0}


def test_the_buckets_are_bounded() -> None:
    buckets = Buckets(1, 1, Clock())
    for number in range(10_050):
        buckets.take(str(number))
    assert len(buckets._left) == 10_000


def test_a_request_id_that_would_break_a_log_is_replaced() -> None:
    assert request_id("req-1") == "req-1"
    for told in ("", "a\nb", "a b", "ä", "x" * 101, "-"):
        assert request_id(told) != told


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"CONSOLE_RATE": "fast"}, "CONSOLE_RATE=fast"),
        ({"CONSOLE_BODY_LIMIT": "0"}, "CONSOLE_BODY_LIMIT=0"),
        ({"CONSOLE_RATE": "nan"}, "CONSOLE_RATE"),
        ({"CONSOLE_WORKERS": "2"}, "CONSOLE_SESSION_KEY_FILE"),
    ],
)
def test_settings_that_cannot_be_are_refused(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings.read(variables)


def test_settings_are_read() -> None:
    settings = Settings.read(
        {
            "CONSOLE_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.1",
            "CONSOLE_ALERTMANAGER_URL": "http://a/",
            "CONSOLE_NAME": "x",
        }
    )
    assert settings.trusted_proxies == ("127.0.0.1", "10.0.0.1")
    assert (settings.alertmanager_url, settings.name, settings.rate) == ("http://a", "x", 50.0)


def problems(**body: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate(body)
    return dict(_field_problem({**error, "loc": ("body", *error["loc"])}) for error in caught.value.errors())


def test_a_problem_names_its_field_in_words_of_people() -> None:
    assert problems() == {"type": "Field required"}
    assert problems(type="a", priority=0) == {
        "priority": "Input should be 'normal', 'high' or a number from 1 to 10"
    }
    assert set(problems(type="a", args="b", expires="soon")) == {"args", "expires"}
    assert problems(type="a", tyep=1) == {"tyep": "no such field"}
    assert problems(type="a", eta="2030-01-01T00:00:00", countdown=1) == {
        "": "eta and countdown exclude each other"
    }
    assert set(problems(type="a", countdown=float("inf"), args=[0] * 1001)) == {"countdown", "args"}


def test_data_is_the_only_argument_even_when_it_is_nothing() -> None:
    assert Submission(type="a", data=None).positional == [None]
    assert Submission(type="a").positional == []
    assert Submission(type="a", args=[1], kwargs={"b": 2}).named == {"b": 2}


def test_requests_that_say_the_same_are_the_same() -> None:
    one = Submission.model_validate({"type": "a", "kwargs": {"x": 1, "y": 2}})
    same = Submission.model_validate({"kwargs": {"y": 2, "x": 1}, "type": "a"})
    other = Submission.model_validate({"type": "a", "kwargs": {"x": 1, "y": 3}})
    assert canonical(one) == canonical(same) != canonical(other)
    assert canonical(Submission(type="a")) != canonical(Submission(type="a", data=None))


def test_a_state_is_understood_in_both_languages() -> None:
    assert TaskQuery(state="completed").state == TaskQuery(state="success").state == "SUCCESS"
    assert TaskQuery(state="Processing").state == "STARTED"
    with pytest.raises(ValidationError, match="pending, received"):
        TaskQuery(state="lost")


@pytest.mark.parametrize(
    ("at", "text"), [(1736937330, "2025-01-15T10:35:30Z"), (1736937330.25, "2025-01-15T10:35:30.250Z")]
)
def test_a_time_is_told_in_utc(at: float, text: str) -> None:
    class Told(Model):
        at: Moment | None

    assert Told(at=moment(at)).model_dump(mode="json") == {"at": text}


def test_shares_are_of_all_that_came_in() -> None:
    assert share(135, Totals(150, 135, 10)) == 90.0
    assert share(10, Totals(150, 135, 10)) == 6.67
    assert share(0, Totals()) == 0.0
    # More may end in a window than came in.
    assert share(4, Totals(received=2, succeeded=4)) == 100.0


def outcome(**known: Any) -> Cancelled:
    said: dict[str, Any] = {
        "task_id": "t", "state_before": "PENDING", "mark": True, "revoked": (), "terminated": (), "unable": (),
        "possible": True,
    }  # fmt: skip
    return Cancelled(**{**said, **known})


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({"removed": True}, "Task was waiting and has been removed from its queue"),
        ({}, "Task was waiting and will not run"),
        ({"state_before": "STARTED", "terminated": ("w@h",)}, "Task was running and has been terminated"),
        ({"state_before": "RETRY"}, "Task was waiting to be tried again and will not run again"),
        ({"state_before": "REVOKED"}, "Task was already cancelled"),
    ],
)
def test_a_cancellation_is_told_as_it_was(known: dict[str, Any], text: str) -> None:
    assert message(outcome(**known)) == text


def test_why_a_task_runs_on_is_told() -> None:
    assert "w@h" in why_not(outcome(unable=("w@h",)), True)
    assert "was not to be terminated" in why_not(outcome(), False)
    assert "has not answered" in why_not(outcome(), True)
    assert [previous(state) for state in ("STARTED", "RECEIVED", "PENDING", "RETRY", "REVOKED")] == [
        "processing", "pending", "pending", "retry", "cancelled",
    ]  # fmt: skip


def record(state: str, **known: Any) -> TaskRecord:
    return TaskRecord("t", state, 100.0, **known)


@pytest.mark.parametrize(
    ("found", "result", "status"),
    [
        (record("STARTED"), Result("SUCCESS"), "SUCCESS"),
        (record("SUCCESS"), Result("STARTED"), "SUCCESS"),
        (record("IGNORED"), None, "IGNORED"),
        (record("PENDING"), Result("STARTED"), "STARTED"),
        (record("RECEIVED"), None, "RECEIVED"),
        (record("RETRY"), Result("RETRY"), "RETRY"),
        (record("RECEIVED"), Result("", note="unreadable"), "RECEIVED"),
        (None, None, "PENDING"),
    ],
)
def test_what_is_told_latest_holds(found: TaskRecord | None, result: Result | None, status: str) -> None:
    assert true_status(found, result, None) == status


def test_a_result_is_shown_as_json_unless_it_is_too_long() -> None:
    assert shown({"a": float("nan"), "b": 1}) == ({"a": "NaN", "b": 1}, "")
    value, why = shown("x" * 300_000)
    assert value is None
    assert "too many" in why


def test_the_ids_of_children_are_found_in_groups_too() -> None:
    assert list(ids_of([[["a", None], None], [["g", None], [[["b", None], None], [["c", None], None]]]])) == [
        "a", "b", "c",
    ]  # fmt: skip
    assert list(ids_of(None)) == []
    assert list(ids_of([["x"], 3, [[], None]])) == []


def test_a_summary_tells_how_long_a_task_waited_and_ran() -> None:
    running = summary(record("STARTED", since=90.0, received=95.0, started=96.0, priority=1), now=100.0)
    assert (running.wait, running.runtime, running.state, running.priority) == (6.0, 4.0, "processing", 9)
    ended = summary(record("SUCCESS", received=95.0, started=96.0, ended=98.0, runtime=1.5), now=200.0)
    assert (ended.wait, ended.runtime) == (1.0, 1.5)


def test_a_result_that_is_not_there_yet_fits_any_parameter() -> None:
    task = TaskType("t", (Parameter("x", annotation="int"), Parameter("y", annotation="int", required=False)))
    assert misfits(_accepting(task, 1), [None, 2], {}) == []
    assert misfits(_accepting(task, 1), [None, "two"], {})
    assert misfits(_accepting(task, 0), [None], {})
