"""What Beat says of itself and of its entries, in `fleet:beat`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from .told import read

FRESH = 15.0
"""Seconds for which Beat's word holds; it says it again every five."""

_KEPT = 30 * 86400


@dataclass(frozen=True)
class ScheduleEntry:
    """A periodic task. Times are seconds since the epoch."""

    name: str
    task: str
    schedule: str
    """For people."""
    queue: str | None
    """None: where its route sends it."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    last_run: float | None
    """When it was last sent; None: never."""
    next_run: float | None
    """When it is to be sent next; in the past: it is late. None: not known."""
    runs: int
    """How often it was sent."""


@dataclass(frozen=True)
class BeatState:
    """Beat at one moment: `at`, in seconds since the epoch by the clock of its host."""

    at: float
    host: str
    pid: int
    entries: tuple[ScheduleEntry, ...]


class Schedules:
    """The store. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._key = f"{prefix}fleet:beat"

    def write(self, state: BeatState) -> None:
        told = json.dumps(asdict(state), default=repr).encode(errors="replace")
        self._client.set(self._key, told, ex=_KEPT)

    def read(self) -> BeatState | None:
        """The last word of Beat, however old; None: it has not said any."""
        found: Any = self._client.get(self._key)
        if found is None:
            return None
        told = json.loads(found)
        entries = tuple(read(ScheduleEntry, each, args=tuple(each["args"])) for each in told["entries"])
        return read(BeatState, told, entries=entries)
