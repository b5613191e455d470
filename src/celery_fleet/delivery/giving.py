"""Gives back what is claimed: to the head or the tail of its queue, to the parked, or to the malformed."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1
from time import time
from typing import Any

from . import envelope
from .commands import Commands
from .custody import Custody
from .keys import SEPARATOR, Keys
from .pending import note
from .scripts import ACK, GIVE_BACK

CHUNK = 100
"""Messages that one step moves at most."""


class Place(StrEnum):
    """Where a message goes."""

    HEAD = "head"
    TAIL = "tail"
    PARK = "park"
    MALFORMED = "malformed"
    DROP = "drop"


@dataclass(frozen=True)
class Entry:
    """An entry of an `unacked` hash as it was read."""

    tag: str
    raw: bytes
    message: dict[str, Any] | None
    """None: it cannot be read."""
    exchange: str = ""
    routing_key: str = ""

    @classmethod
    def read(cls, tag: str, raw: bytes) -> "Entry":
        try:
            message, exchange, routing_key = json.loads(raw)
            message["properties"]["delivery_tag"]
        except (ValueError, TypeError, KeyError):
            return cls(tag, raw, None)
        return cls(tag, raw, message, exchange or "", routing_key or "")


@dataclass(frozen=True)
class Holding:
    """The `unacked` keys of one node, and the token under which they may be written ('': no lease)."""

    unacked: str
    index: str
    owner: str
    token: Callable[[], str]


class Giver:
    """Moves messages out of one `unacked` hash, each at once and only if it still is what was read."""

    def __init__(self, commands: Commands, keys: Keys, steps: Sequence[int], holding: Holding) -> None:
        self._commands = commands
        self._keys = keys
        self._steps = tuple(steps)
        self._holding = holding

    def acknowledge(self, *tags: str) -> None:
        self._commands.run_again(ACK, 2, self._holding.unacked, self._holding.index, *tags)

    def pay(self, custody: Custody) -> None:
        """Settles what is owed. Raises what a lost connection raises; the rest is then still owed."""
        owed = custody.take_owed()
        try:
            for tag in [*owed]:
                if owed[tag]:
                    self.back([tag], Place.TAIL)
                else:
                    self.acknowledge(tag)
                del owed[tag]
        finally:
            for tag, requeue in owed.items():
                custody.owe(tag, requeue)

    def read(self, tags: Sequence[str]) -> Iterator[Entry]:
        """The entries there are with these tags."""
        if tags:
            found = self._commands.call("HMGET", self._holding.unacked, *tags)
            yield from (Entry.read(tag, raw) for tag, raw in zip(tags, found, strict=True) if raw is not None)

    def back(self, tags: Sequence[str], place: Place) -> int:
        """Gives back the messages with these tags, which were not run. The first will be the first again.

        Those that are due later than soon are parked instead. Returns how many were there.
        """
        moved = 0
        for chunk in reversed([tags[start : start + CHUNK] for start in range(0, len(tags), CHUNK)]):
            moved += self.move((entry, place) for entry in reversed(list(self.read(chunk))))
        return moved

    def move(self, entries: Iterable[tuple[Entry, Place]]) -> int:
        """Moves entries that were read, in one step: the last that goes to a head is the first there."""
        now = time()
        lists: dict[tuple[str, str], int] = {}
        arguments: list[Any] = []
        for entry, wanted in entries:
            task_id = envelope.task_id(entry.message.get("headers")) if entry.message else ""
            for place, where, payload, waits in self._moves(entry, wanted, now):
                position: Any = where
                if isinstance(where, tuple):
                    position = lists.setdefault(where, 6 + 2 * len(lists))
                arguments += [
                    entry.tag,
                    sha1(entry.raw, usedforsecurity=False).hexdigest(),
                    place,
                    position,
                    payload,
                    task_id if waits else "",
                    waits,
                ]
        if not arguments:
            return 0
        held = self._holding
        keys = [held.unacked, held.index, held.owner, self._keys.parked, self._keys.malformed]
        keys += [key for pair in lists for key in pair]
        token = held.token()
        return int(
            self._commands.run_again(GIVE_BACK, len(keys), *keys, token, self._keys.pending, *arguments)
        )

    def _moves(self, entry: Entry, place: Place, now: float) -> Iterator[tuple[Place, Any, bytes | str, str]]:
        """(place, list and wake list, or due time, payload, note of it) for each queue that the entry goes to."""
        message = entry.message
        if place is Place.DROP:
            yield place, "", "", ""
        elif message is None or place is Place.MALFORMED:
            yield Place.MALFORMED, "", json.dumps(entry.routing_key).encode() + b"\n" + _inner(entry), ""
        else:
            queue = self.destination(entry)
            key = self._keys.queue(queue, envelope.priority(message, self._steps))
            far = envelope.is_far(message.get("headers"), now)
            payload = json.dumps(envelope.redelivered(message) if far is None else message)
            bare = key.removeprefix(self._keys.prefix)
            waits = note(bare, far, now)
            if far is None:
                yield place, (key, self._keys.wake(queue)), payload, waits
            else:
                yield Place.PARK, repr(far), envelope.parked_member(queue, bare, payload), waits

    def destination(self, entry: Entry) -> str:
        """The queue that an entry came from. The claim names it; kombu names exchange and routing key."""
        if not entry.exchange:
            return entry.routing_key
        for member in sorted(self._commands.call("SMEMBERS", self._keys.bindings(entry.exchange))):
            routing_key, _, queue = member.decode().split(SEPARATOR)
            if routing_key == entry.routing_key:
                return str(queue)
        return entry.routing_key or entry.exchange


def _inner(entry: Entry) -> bytes:
    return entry.raw if entry.message is None else json.dumps(entry.message).encode()
