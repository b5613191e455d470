"""All that is known of one task."""

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from celery.exceptions import CeleryError
from celery.states import READY_STATES

from celery_fleet.console.errors import NotFound
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.common import moment
from celery_fleet.console.models.tasks import Action, TaskDetail
from celery_fleet.console.models.tasks import Waiting as WaitingModel
from celery_fleet.store.deadletters import DeadLetter
from celery_fleet.store.index import TaskRecord
from celery_fleet.store.presence import FRESH, Presence
from celery_fleet.survey.messages import Waiting, discreet, find_waiting

from .records import epoch, summary_fields
from .search import record_of

MOST_SHOWN = 256 * 1024
"""Characters of a result that are shown."""

ENDED = READY_STATES | {"IGNORED"}
_WAITS = frozenset({"PENDING", "RECEIVED", "RETRY"})
_UNABLE = frozenset({"threads", "solo"})
"""Kinds of pools that cannot end a task that runs."""


@dataclass(frozen=True)
class Result:
    """What the result backend has of a task."""

    status: str
    value: Any = None
    traceback: str | None = None
    done: float | None = None
    children: tuple[str, ...] = ()
    note: str = ""


def look_up(fleet: Fleet, task_id: str) -> TaskDetail:
    """Raises NotFound for what nobody knows."""
    record = fleet.index.get(task_id)
    result = read_result(fleet, task_id)
    letter = fleet.letters.get(task_id)
    status = true_status(record, result, letter)
    waiting = None
    if status in _WAITS:
        waiting = find_waiting(fleet.broker, task_id, list(fleet.topology.queues), fleet.keys)
        waiting = waiting and discreet(waiting, fleet.discretion)
    if not (record or result or letter or waiting):
        raise NotFound(
            f"nothing is known of the task {task_id}: it is forgotten, or never was", code="unknown_task"
        )
    record = record or _record(task_id, status, letter, waiting)
    return _detail(fleet, replace(record, state=status), result, letter, waiting)


def read_result(fleet: Fleet, task_id: str) -> Result | None:
    """None: the result backend has nothing of it, or there is none. Raises redis.RedisError."""
    backend = fleet.app.backend
    try:
        meta = backend.get_task_meta(task_id, cache=False)
    except NotImplementedError:
        return None
    except (CeleryError, KeyError, ValueError, TypeError) as error:
        return Result("", note=f"What the result backend has cannot be read: {type(error).__name__}: {error}")
    status = str(meta.get("status") or "PENDING")
    if status == "PENDING":
        return None
    value = meta.get("result")
    if isinstance(value, BaseException):
        value, note = f"{type(value).__name__}: {value}", ""
    else:
        value, note = shown(value)
    return Result(
        status,
        value,
        meta.get("traceback"),
        _time(meta.get("date_done")),
        tuple(ids_of(meta.get("children"))),
        note,
    )


def shown(value: Any) -> tuple[Any, str]:
    """A result as plain JSON, and why it is not there if it is not."""
    text = json.dumps(value, default=str)
    if len(text) > MOST_SHOWN:
        return None, f"The result has {len(text)} characters, too many to be shown."
    return json.loads(text, parse_constant=str), ""


def ids_of(children: Any) -> Iterator[str]:
    """The ids in what Celery keeps of the tasks that a task has sent: ((id, parent), group or None), nested.

    >>> list(ids_of([[["a", None], None], [["g", None], [[["b", None], None]]]]))
    ['a', 'b']
    """
    for child in children or ():
        if isinstance(child, list | tuple) and len(child) == 2:
            head, group = child
            if group:
                yield from ids_of(group)
            elif isinstance(head, list | tuple) and head and isinstance(head[0], str):
                yield head[0]


def true_status(record: TaskRecord | None, result: Result | None, letter: DeadLetter | None) -> str:
    """What holds of what is told: workers tell the backend at once, and the index a moment later."""
    if result and result.status in READY_STATES:
        return result.status
    if record and record.state not in ("PENDING", "RECEIVED"):
        return record.state
    if result and result.status:
        return result.status
    if record:
        return record.state
    return "FAILURE" if letter else "PENDING"


def _record(task_id: str, status: str, letter: DeadLetter | None, waiting: Waiting | None) -> TaskRecord:
    """What can be told of a task that the index does not have."""
    if waiting:
        return record_of(waiting)
    if letter is None:
        return TaskRecord(task_id, status, time.time())
    return TaskRecord(
        task_id, status, letter.failed_at, name=letter.name, queue=letter.queue, worker=letter.worker,
        since=letter.since, ended=letter.failed_at, retries=letter.attempts - 1, losses=letter.losses,
        priority=letter.priority, error=letter.error, root_id=letter.root_id, parent_id=letter.parent_id,
        trace_id=letter.trace_id, origin=letter.origin,
    )  # fmt: skip


def _detail(
    fleet: Fleet,
    record: TaskRecord,
    result: Result | None,
    letter: DeadLetter | None,
    waiting: Waiting | None,
) -> TaskDetail:
    now = time.time()
    ended = record.state in ENDED
    if ended and record.ended is None:
        record = replace(record, ended=(result.done if result else None))
    failed = record.state in ("FAILURE", "RETRY", "REVOKED")
    error = record.error or (letter.error if letter else "")
    if failed and result and not error:
        error = str(result.value or "")
    trace_id = record.trace_id or (letter.trace_id if letter else "")
    return TaskDetail(
        **(summary_fields(record, now) | {"error": error}),
        result=None if failed or not result else result.value,
        traceback=(result.traceback if result else None) or (letter.traceback if letter else None) or None,
        result_note=_note(fleet, record, result, waiting),
        message=_message(record, waiting),
        root_id=record.root_id,
        parent_id=record.parent_id,
        children=list(result.children) if result else [],
        trace_id=trace_id,
        trace_url=fleet.settings.trace_url.replace("{trace_id}", trace_id)
        if trace_id and fleet.settings.trace_url
        else None,
        origin=record.origin,
        dead_letter_id=letter.task_id if letter else None,
        dead_letter_reason=letter.reason if letter else None,
        retried_as=letter.retried_as if letter else "",
        journal=f"journalctl TASK_ID={shlex.quote(record.task_id)}",
        actions={"cancel": _may_cancel(record, fleet.presences.all(), now), "retry": _may_retry(letter)},
    )


def _note(fleet: Fleet, record: TaskRecord, result: Result | None, waiting: Waiting | None) -> str:
    if result and result.note:
        return result.note
    if record.state == "SUCCESS" and result is None:
        return "Its result is gone: it has expired, or the task keeps none."
    if record.state == "PENDING" and waiting is None:
        if record.parent_id:
            before = fleet.index.get(record.parent_id)
            state = f" ({before.state})" if before else ""
            return f"It is sent when the task before it, {record.parent_id}{state}, has succeeded."
        return "Its message was not found: a worker has just taken it, it lies too deep in its queue, or it is gone."
    return ""


def _message(record: TaskRecord, waiting: Waiting | None) -> WaitingModel | None:
    if waiting is None:
        if record.state in ("RECEIVED", "STARTED") and record.worker:
            return WaitingModel(place="held", queue=record.queue, node=record.worker)
        return None
    parked = waiting.due is not None and waiting.position is None
    return WaitingModel(
        place="parked" if parked else "waiting",
        queue=waiting.queue,
        position=waiting.position,
        due=moment(waiting.due),
    )


def _may_cancel(record: TaskRecord, presences: list[Presence], now: float) -> Action:
    if record.state in ENDED:
        return Action(possible=False, why_not=f"It is over: {record.state}.")
    kinds = {each.node: each.kind for each in presences if now - each.at <= FRESH}
    kind = kinds.get(record.worker)
    if record.state == "STARTED" and kind in _UNABLE:
        return Action(
            possible=False,
            why_not=f"It runs in a pool of the kind {kind}, which cannot end a task. Cancelling keeps it from being "
            "tried again.",
        )
    return Action(possible=True)


def _may_retry(letter: DeadLetter | None) -> Action:
    if letter is None:
        return Action(possible=False, why_not="It has no dead letter.")
    if letter.retried_as:
        return Action(possible=False, why_not=f"It was retried as {letter.retried_as}.")
    return Action(possible=True)


def _time(text: Any) -> float | None:
    if isinstance(text, datetime):
        return epoch(text)
    try:
        return epoch(datetime.fromisoformat(text).astimezone(UTC)) if text else None
    except (ValueError, TypeError):
        return None
