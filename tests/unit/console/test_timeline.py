"""The way of a task as its page tells it: in the order of time, with gaps, and what it waits for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_fleet.console.models.tasks import Action, TaskDetail, Waiting
from celery_fleet.console.pages.timeline import steps

NOW = datetime(2026, 11, 22, 13, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def task(state: str, **known: Any) -> TaskDetail:
    return TaskDetail(
        **{
            **{"task_id": "1", "state": state, "status": state.upper(), "name": "a.task", "queue": "q"},
            **{"worker": "w@host", "priority": 5, "args": "()", "kwargs": "{}", "at": at(-1), "journal": ""},
            **{"actions": {"cancel": Action(possible=False, why_not="")}},
            **known,
        }
    )


def told(found: TaskDetail) -> list[tuple[str, float | None]]:
    return [(step.label, step.gap) for step in steps(found, NOW)]


def test_a_task_that_succeeded() -> None:
    ended = task("completed", submitted_at=at(-60), received_at=at(-40), started_at=at(-30), ended_at=at(-5))
    assert told(ended) == [
        ("Submitted", None),
        ("Taken by a worker", 20),
        ("Started", 10),
        ("Succeeded", 25),
    ]


def test_what_is_not_known_is_left_out() -> None:
    assert told(task("failed", ended_at=at(-5))) == [("Failed", None)]


def test_a_task_that_waited_for_its_time() -> None:
    ended = task("completed", submitted_at=at(-60), due=at(-30), received_at=at(-59), started_at=at(-29))
    labels = [label for label, _ in told(ended)]
    assert labels == ["Submitted", "Taken by a worker", "Due", "Started", "Succeeded"]


def test_a_running_task_says_for_how_long() -> None:
    last = steps(task("processing", started_at=at(-30), runtime=30.0), NOW)[-1]
    assert (last.label, last.gap, last.now) == ("Running", 30.0, True)


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (Waiting(place="waiting", queue="q", position=3), "in the queue q, number 3"),
        (Waiting(place="waiting", queue="q", position=None), "in the queue q"),
        (Waiting(place="held", queue="q", position=None, node="w@host"), "held by w@host"),
        (None, ""),
    ],
)
def test_a_waiting_task_says_where(message: Waiting | None, note: str) -> None:
    last = steps(task("pending", submitted_at=at(-60), message=message), NOW)[-1]
    assert (last.label, last.note, last.now) == ("Waits for a worker", note, True)


def test_a_task_that_is_due_later() -> None:
    last = steps(task("pending", submitted_at=at(-60), due=at(90)), NOW)[-1]
    assert (last.label, last.at, last.ahead) == ("Due", at(90), True)


def test_a_task_that_is_tried_again() -> None:
    found = steps(task("retry", started_at=at(-30), error="no answer", due=at(60), retries=2), NOW)
    assert [step.label for step in found] == ["Started", "Failed, and is tried again", "Due again"]
    assert found[0].note == "attempt 3"
    assert found[1].note == "no answer"
    assert found[2].at == at(60)
