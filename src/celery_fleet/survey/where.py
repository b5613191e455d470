"""Finds the message of a task in the broker: waiting in a queue, parked, held by a worker, or set apart."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from celery_fleet.delivery.keys import Keys
from celery_fleet.policy.priority import STEPS, fleet_priority

from .backlog import holders

MOST = 20_000
"""Messages of one list that are looked at."""

_STEP = 500


@dataclass(frozen=True)
class Place:
    """Where a message is. `place`: waiting, parked, held."""

    place: str
    queue: str = ""
    priority: int | None = None
    """1 (lowest) to 10."""
    position: int | None = None
    """In the line of its priority, from 1: the next one."""
    node: str = ""
    """The worker that holds it; empty: one on the stock transport."""
    due: float | None = None
    """When it is due, in seconds since the epoch."""


def find(client: "redis.Redis", task_id: str, queues: Sequence[str], keys: Keys) -> list[Place]:
    """Every place where a message of this task is; usually one, or none when the task has ended."""
    return [
        *_held(client, task_id, keys),
        *_parked(client, task_id, keys),
        *(place for queue in queues for place in _waiting(client, task_id, queue, keys)),
    ]


def has_id(message: object, task_id: str) -> bool:
    """Whether a decoded message, as kombu writes it, is of this task."""
    headers = message.get("headers") if isinstance(message, dict) else None
    return isinstance(headers, dict) and headers.get("id") == task_id


def _waiting(client: "redis.Redis", task_id: str, queue: str, keys: Keys) -> Iterator[Place]:
    for step in STEPS:
        for position, message in _line(client, keys.queue(queue, step)):
            if task_id.encode() in message and has_id(_decoded(message), task_id):
                yield Place("waiting", queue, fleet_priority(step), position)


def _line(client: "redis.Redis", key: str) -> Iterator[tuple[int, bytes]]:
    """The first messages that a list would give, with their place in the line."""
    for start in range(0, MOST, _STEP):
        # Workers take from the right.
        found = cast(list[bytes], client.lrange(key, -start - _STEP, -start - 1))
        yield from enumerate(reversed(found), start + 1)
        if len(found) < _STEP:
            return


def _held(client: "redis.Redis", task_id: str, keys: Keys) -> Iterator[Place]:
    for node, key in holders(client, keys).items():
        for _, value in client.hscan_iter(key, count=_STEP):
            if task_id.encode() not in value:
                continue
            entry = _decoded(value)
            if isinstance(entry, list) and len(entry) == 3 and has_id(entry[0], task_id):
                yield Place("held", str(entry[2] or entry[1]), node=node)


def _parked(client: "redis.Redis", task_id: str, keys: Keys) -> Iterator[Place]:
    for member, due in client.zscan_iter(keys.parked, count=_STEP):
        entry = _decoded(member) if task_id.encode() in member else None
        if isinstance(entry, dict) and has_id(entry.get("message"), task_id):
            yield Place("parked", str(entry.get("queue", "")), due=due)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
