"""Puts back what a node held when its process died: in order, at the head of the queues, each message once."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import time
from typing import Any

from . import envelope
from .commands import ClientCommands, Commands
from .giving import CHUNK, Entry, Giver, Holding, Place
from .keys import Keys
from .lease import KEPT_OUT, Lease, LeaseInfo, NodeTaken

log = logging.getLogger(__name__)

SetAside = Callable[[str, str, str], None]
"""(message as JSON or as it was, reason: poison or undecodable, queue). When it returns, the message is safe."""

Limit = Callable[[str, str], int]
"""(task name, queue) -> how often the task may take the process that runs it down with it."""

_ROUNDS = 10


@dataclass(frozen=True)
class Restored:
    """What became of the messages of a node."""

    returned: int = 0
    """To their queues, or parked until they are due."""
    set_aside: int = 0

    def __add__(self, other: "Restored") -> "Restored":
        return Restored(self.returned + other.returned, self.set_aside + other.set_aside)

    def __str__(self) -> str:
        return f"{self.returned} messages returned, {self.set_aside} set aside"


@dataclass(frozen=True)
class Rules:
    """How messages are put back."""

    steps: tuple[int, ...] = tuple(range(10))
    """The priorities that have a list of their own."""
    limit: Limit = lambda name, queue: 4  # noqa: ARG005
    set_aside: SetAside | None = None
    """Without it, what would be set aside stays in Redis among the malformed."""


def restore(client: Any, node: str, rules: Rules = Rules(), keys: Keys = Keys()) -> Restored:  # noqa: B008
    """Gives the work of a node to others, on an operator's word that its process is dead.

    `client`: redis-py's, for the broker's database. Its lease is taken, so that a process which lives after all ends.
    Raises NodeTaken when the lease changes each time that it is about to be taken.
    """
    commands = ClientCommands(client)
    lease = Lease(commands, keys, node)
    holder, rounds = lease.holder(), 0
    while not lease.take(holder):
        holder, rounds = lease.holder(), rounds + 1
        if holder and rounds >= _ROUNDS:
            raise NodeTaken(holder)
    return _restore_and_release(commands, keys, lease, rules)


def reap(commands: Commands, keys: Keys, dead: LeaseInfo, rules: Rules) -> Restored | None:
    """Gives the work of a dead node to others. None: it lives after all, or another does it."""
    lease = Lease(commands, keys, dead.node)
    return _restore_and_release(commands, keys, lease, rules) if lease.take(dead) else None


def _restore_and_release(commands: Commands, keys: Keys, lease: Lease, rules: Rules) -> Restored:
    found = restore_node(commands, keys, lease, rules)
    lease.release(KEPT_OUT)
    return found


def restore_node(commands: Commands, keys: Keys, lease: Lease, rules: Rules) -> Restored:
    """Puts back all that the lease's node holds; nothing once the lease is another's."""
    node = lease.node
    holding = Holding(keys.unacked(node), keys.unacked_index(node), keys.owner(node), lambda: lease.token)
    giver = Giver(commands, keys, rules.steps, holding)
    total = Restored()
    for _ in range(_ROUNDS):  # the last claims of a process that was cut off may arrive meanwhile
        tags = _tags(commands, holding)
        if not tags:
            break
        for start in reversed(range(0, len(tags), CHUNK)):
            entries = reversed(list(giver.read(tags[start : start + CHUNK])))
            moves = list(_decide(giver, entries, rules))
            giver.move(moves)
            aside = sum(place in (Place.DROP, Place.MALFORMED) for _, place in moves)
            total += Restored(len(moves) - aside, aside)
    if total != Restored():
        log.warning("Of node %s: %s", node, total)
    return total


def _tags(commands: Commands, holding: Holding) -> list[str]:
    """In the order of the claims."""
    ordered = [tag.decode() for tag in commands.call("ZRANGE", holding.index, 0, -1)]
    others = {tag.decode() for tag in commands.call("HKEYS", holding.unacked)}
    held = [tag for tag in ordered if tag in others]
    return held + sorted(others - set(ordered))


def _decide(giver: Giver, entries: Iterator[Entry], rules: Rules) -> Iterator[tuple[Entry, Place]]:
    for entry in entries:
        message = entry.message
        if message is None:
            yield entry, Place.MALFORMED
            continue
        queue = giver.destination(entry)
        headers = message.get("headers")
        name = headers.get("task") if isinstance(headers, dict) else None
        if envelope.bereaved(message, time()) < rules.limit(str(name or ""), queue):
            yield entry, Place.HEAD
        else:
            yield entry, _set_aside(rules, json.dumps(message), "poison", queue)


def _set_aside(rules: Rules, message: str, reason: str, queue: str) -> Place:
    if rules.set_aside is None:
        return Place.MALFORMED
    rules.set_aside(message, reason, queue)
    return Place.DROP


def clear_malformed(commands: Commands, keys: Keys, set_aside: SetAside, most: int = CHUNK) -> int:
    """Makes dead letters of malformed entries, the oldest first. Returns how many."""
    done = 0
    for raw in reversed(commands.call("LRANGE", keys.malformed, -most, -1)):
        queue, _, entry = raw.partition(b"\n")
        set_aside(entry.decode(errors="surrogateescape"), "undecodable", _queue(queue))
        done += commands.call("LREM", keys.malformed, -1, raw)
    return done


def _queue(text: bytes) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""
