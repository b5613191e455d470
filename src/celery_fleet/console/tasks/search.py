"""Searching the tasks: the index has what workers and the console saw, the queues have the rest."""

import time

from celery_fleet.console.errors import Invalid
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.tasks import STATES, TaskList, TaskQuery
from celery_fleet.policy.priority import broker_priority
from celery_fleet.store.index import TaskRecord
from celery_fleet.survey.messages import Waiting, discreet, find_waiting, recent

from .records import epoch, summary, word

PENDING = STATES["pending"]
_MOST_WAITING = 100
"""Messages of the queues that are looked at for those that the index does not know."""


def search(fleet: Fleet, query: TaskQuery) -> TaskList:
    """Tasks that have all that the query says, newest first. Raises Invalid for a cursor that is none.

    With the state `pending`, the first page also has the newest waiting tasks that others than the console
    have sent, which no worker has seen yet.
    """
    name = fleet.topology.task_types.get(query.name, query.name)
    since, until = epoch(query.since), epoch(query.until)
    try:
        page = fleet.index.search(
            task_id=query.task_id, state=query.state, name=name, queue=query.queue, worker=query.worker,
            text=query.text, since=since, until=until, cursor=query.cursor, limit=query.limit,
        )  # fmt: skip
    except ValueError as error:
        message = "it is not the next_cursor of an earlier answer"
        raise Invalid(f"cursor: {message}", errors=[("cursor", message)]) from error
    records = list(page.records)
    if query.task_id and not records:
        found = find_waiting(fleet.broker, query.task_id, list(fleet.topology.queues), fleet.keys)
        records = [record_of(discreet(found, fleet.discretion))] if found else []
    elif query.state == PENDING and not query.cursor and not query.worker:
        records = _with_waiting(fleet, query.model_copy(update={"name": name}), records)
    now = time.time()
    return TaskList(
        tasks=[summary(record, now) for record in records],
        next_cursor=page.cursor or None,
        counts={word(state): count for state, count in fleet.index.counts().items()},
    )


def record_of(waiting: Waiting) -> TaskRecord:
    """What a message tells of its task."""
    return TaskRecord(
        waiting.task_id,
        PENDING,
        waiting.since or time.time(),
        name=waiting.name,
        queue=waiting.queue,
        args=waiting.args,
        kwargs=waiting.kwargs,
        since=waiting.since,
        eta=waiting.due,
        priority=None if waiting.priority is None else broker_priority(waiting.priority),
    )


def _with_waiting(fleet: Fleet, query: TaskQuery, records: list[TaskRecord]) -> list[TaskRecord]:
    queues = [query.queue] if query.queue else list(fleet.topology.queues)
    limit = min(query.limit, _MOST_WAITING)
    found = [each for each in _recent(fleet, queues, limit) if each.task_id and _passes(each, query)]
    known = fleet.index.get_many([each.task_id for each in found])
    own = {record.task_id for record in records}
    more = [record_of(each) for each in found if each.task_id not in known and each.task_id not in own]
    return sorted(records + more, key=lambda record: record.since or record.at, reverse=True)


def _recent(fleet: Fleet, queues: list[str], limit: int) -> list[Waiting]:
    return [discreet(each, fleet.discretion) for each in recent(fleet.broker, queues, fleet.keys, limit)]


def _passes(waiting: Waiting, query: TaskQuery) -> bool:
    text, since, until = query.text.lower(), epoch(query.since), epoch(query.until)
    words = (waiting.task_id, waiting.name, waiting.args, waiting.kwargs)
    return (
        (not query.name or waiting.name == query.name)
        and (not text or any(text in each.lower() for each in words))
        and (since is None or (waiting.since or 0) >= since)
        and (until is None or (waiting.since or 0) <= until)
    )
