"""From records of the index to what is told of tasks."""

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from celery_fleet.console.models.common import Links, moment
from celery_fleet.console.models.tasks import WORDS, TaskSummary
from celery_fleet.policy.priority import fleet_priority
from celery_fleet.store.index import TaskRecord

_UNDERWAY = "STARTED"


def summary(record: TaskRecord, now: float | None = None) -> TaskSummary:
    return TaskSummary(**summary_fields(record, time.time() if now is None else now))


def summary_fields(record: TaskRecord, now: float) -> dict[str, Any]:
    """The fields of a TaskSummary."""
    running = record.state == _UNDERWAY and record.started is not None
    return {
        "task_id": record.task_id,
        "state": word(record.state),
        "status": record.state,
        "name": record.name,
        "queue": record.queue,
        "worker": record.worker,
        "priority": None if record.priority is None else fleet_priority(record.priority),
        "args": record.args,
        "kwargs": record.kwargs,
        "at": moment(record.at),
        "submitted_at": moment(record.since),
        "received_at": moment(record.received),
        "started_at": moment(record.started),
        "ended_at": moment(record.ended),
        "due": moment(record.eta),
        "wait": waited(record),
        "runtime": max(0.0, now - (record.started or now)) if running else record.runtime,
        "retries": record.retries,
        "losses": record.losses,
        "error": record.error,
    }


def word(status: str) -> str:
    """The state as people say it."""
    return WORDS.get(status, status.lower())


def waited(record: TaskRecord) -> float | None:
    """Seconds from when it was first due to its (last) start."""
    first = record.since if record.since is not None else record.received
    if record.started is None or first is None:
        return None
    return round(max(0.0, record.started - first), 3)


def epoch(at: datetime | None) -> float | None:
    """Seconds since the epoch; a time without a zone is UTC."""
    if at is None:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def links(task_id: str) -> Links:
    name = quote(task_id, safe="")
    return Links(task=f"/api/v1/tasks/{name}", page=f"/ui/tasks/{name}")
