"""Presence: what each worker says of itself every two seconds, in the hash `fleet:presence` by its node.

Whoever looks asks no worker for it, so that it is there at once, also of a worker whose main loop is busy. A worker
that is killed leaves its last word: `at` tells.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from .told import read

FRESH = 10.0
"""Seconds for which a worker's word holds; it says it again every two."""

RUNNING_LIMIT = 200
"""Running tasks that one worker tells, those that have run for longest."""

_KEPT = 7 * 86400.0


@dataclass(frozen=True)
class Running:
    """A task that runs at this moment. `started`: seconds since the epoch."""

    task_id: str
    name: str
    started: float
    queue: str


@dataclass(frozen=True)
class Presence:
    """One worker. Times are seconds since the epoch, by the clock of its host."""

    node: str
    host: str
    pid: int
    pool: str
    kind: str
    """prefork, threads, gevent or solo."""
    concurrency: int
    queues: tuple[str, ...]
    """What it consumes at this moment."""
    busy: int
    """Tasks that run."""
    done: int
    """Tasks that succeeded since it started."""
    failed: int
    started_at: float
    release: str
    memory: int
    """Bytes of the main process and its children; what they share is counted once."""
    largest_child: int
    """Bytes resident of the largest child, or of the main process of a pool that has none."""
    running: tuple[Running, ...]
    at: float
    stopping: bool = False
    """It was told to stop, and ends what it has begun."""


class Presences:
    """The store. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._key = f"{prefix}fleet:presence"

    def write(self, presence: Presence) -> None:
        told = json.dumps(asdict(presence)).encode(errors="replace")
        self._client.hset(self._key, presence.node, told)

    def all(self) -> list[Presence]:
        """By node, also those that have said nothing for long: see `at`."""
        found: Any = self._client.hgetall(self._key)
        return [_presence(json.loads(found[node])) for node in sorted(found)]

    def remove(self, node: str) -> None:
        """The worker has stopped as it should."""
        self._client.hdel(self._key, node)

    def prune(self, now: float) -> None:
        """Forgets the workers that have said nothing for a week."""
        for presence in self.all():
            if presence.at < now - _KEPT:
                self.remove(presence.node)


def _presence(told: Mapping[str, Any]) -> Presence:
    running = tuple(read(Running, each) for each in told["running"])
    return read(Presence, told, queues=tuple(told["queues"]), running=running)
