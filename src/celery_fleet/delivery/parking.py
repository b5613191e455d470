"""Messages that are due later than soon: they wait in Redis, not in the memory of a worker."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .commands import ClientCommands, Commands
from .keys import Keys
from .scripts import COUNT_PARKED, UNPARK

AHEAD = 2.0
"""Seconds before it is due that a message goes to its queue: a worker waits out the rest."""

_MOST = 200
_COUNTED = 1000
"""Messages that one step counts; they stay in Redis."""


@dataclass(frozen=True)
class Parked:
    """A message that waits."""

    due: float
    """Seconds since the epoch."""
    queue: str
    task_id: str
    name: str
    message: dict[str, Any]


def parked(client: Any, keys: Keys = Keys(), offset: int = 0, limit: int = 100) -> list[Parked]:  # noqa: B008
    """The messages that are due next; `client`: redis-py's, for the broker's database."""
    found = client.zrange(keys.parked, offset, offset + limit - 1, withscores=True)
    return [_parked(member, float(due)) for member, due in found]


def count_parked(client: Any, keys: Keys = Keys()) -> dict[str, int]:  # noqa: B008
    """How many messages wait for each queue."""
    counted: Counter[str] = Counter()
    commands, cursor = ClientCommands(client), b"0"
    while True:
        cursor, *found = commands.run_again(COUNT_PARKED, 0, keys.parked, cursor, _COUNTED)
        for queue, number in zip(found[::2], found[1::2], strict=True):
            counted[json.loads(queue)] += number
        if cursor == b"0":
            return dict(counted)


def _parked(member: bytes, due: float) -> Parked:
    said = json.loads(member)
    headers = said["message"].get("headers") or {}
    return Parked(due, said["queue"], headers.get("id") or "", headers.get("task") or "", said["message"])


def move_due(commands: Commands, keys: Keys, now: float, most: int = _MOST) -> int:
    """Moves what is due soon to the head of its queue, the earliest to run first. Returns how many."""
    members = commands.call("ZRANGEBYSCORE", keys.parked, "-inf", now + AHEAD, "LIMIT", 0, most)
    return sum(map(bool, (_move(commands, keys, member) for member in _latest_first(members))))


def _latest_first(members: list[bytes]) -> Iterator[bytes]:
    return reversed(members)


def _move(commands: Commands, keys: Keys, member: bytes) -> int:
    said = json.loads(member)
    lists = keys.prefix + said["key"], keys.wake(said["queue"])
    return int(commands.run_again(UNPARK, 3, keys.parked, *lists, member, json.dumps(said["message"])))


def unpark_all(client: Any, keys: Keys = Keys()) -> int:  # noqa: B008
    """Moves every parked message to its queue: for a fleet that goes back to stock delivery."""
    moved = 0
    while members := client.zrange(keys.parked, 0, _MOST - 1):
        moved += sum(_move(ClientCommands(client), keys, member) for member in members)
    return moved
