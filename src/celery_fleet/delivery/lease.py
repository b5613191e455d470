"""Leases: who owns the name of a node, and with it the messages that the node has claimed."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from .commands import ClientCommands, Commands
from .keys import Keys
from .process import Process, is_gone, this_process
from .scripts import ACQUIRE, REFRESH, RELEASE

WATCHED = 4.0
"""Seconds for which the holder of a lease is watched for a sign of life: four of its beats."""

_LOOK = 0.2
KEPT_OUT = 7 * 86_400
"""Seconds for which a node whose work was given to others is known not to own it any more."""


@dataclass(frozen=True)
class LeaseInfo:
    """A lease as it lies in Redis."""

    node: str
    token: str
    process: Process
    beat: int
    """Counts the refreshes: a holder that lives changes it each second."""
    age: float
    """Seconds since the last refresh."""
    raw: bytes = field(repr=False)

    @property
    def host(self) -> str:
        return self.process.host

    @property
    def pid(self) -> int:
        return self.process.pid


class NodeTaken(Exception):  # noqa: N818
    """Another process that lives has the node's name."""

    def __init__(self, lease: LeaseInfo) -> None:
        super().__init__(
            f"another worker has the name {lease.node}: process {lease.pid} on host {lease.host}; "
            "give each pool and host a name of its own, or stop that one"
        )
        self.lease = lease


@dataclass(frozen=True)
class Refreshed:
    """What a refresh says beside."""

    now: float
    """Redis' time."""
    due: int
    """Parked messages that are due soon."""
    malformed: int


class Lease:
    """The right of this process to the name of a node."""

    def __init__(self, commands: Commands, keys: Keys, node: str, process: Process | None = None) -> None:
        self.node = node
        self.token = uuid4().hex
        self._commands = commands
        self._keys = keys
        self._process = process or this_process()
        self._beat = 0

    def acquire(self, sleep: Callable[[float], None] = time.sleep, watched: float = WATCHED) -> None:
        """Takes the name: at once when its holder is known to be gone, else when it shows no sign of life.

        Raises NodeTaken.
        """
        first = holder = self.holder()
        end = time.monotonic() + watched
        while True:
            free = holder is None or holder.token == self.token or is_gone(holder.process, self._process)
            if (free or time.monotonic() >= end) and self.take(holder):
                return
            if holder and first and holder.raw != first.raw and holder.token != self.token:
                raise NodeTaken(holder)
            sleep(_LOOK)
            holder = self.holder()
            first = first or holder

    def take(self, holder: LeaseInfo | None) -> bool:
        """Takes the name from the holder, if the lease still is what was read."""
        raw = holder.raw if holder else b""
        return bool(
            self._commands.run_again(ACQUIRE, 2, *self._own_keys(), self.node, raw, self._json(), self.token)
        )

    def refresh(self, ahead: float) -> Refreshed:
        """A sign of life. Counts the parked messages due in `ahead` seconds. Raises Fenced's ResponseError."""
        self._beat += 1
        keys = (*self._own_keys(), self._keys.parked, self._keys.malformed)
        now, due, malformed = self._commands.run_again(
            REFRESH, 4, *keys, self.node, self.token, self._json(), ahead
        )
        return Refreshed(float(now), due, malformed)

    def release(self, kept_out: int | None = None) -> bool:
        """Gives the name up, unless messages are still held under it."""
        keys = (*self._own_keys(), self._keys.unacked(self.node))
        return bool(self._commands.run_again(RELEASE, 3, *keys, self.node, self.token, kept_out or ""))

    def _own_keys(self) -> tuple[str, str]:
        return self._keys.leases, self._keys.owner(self.node)

    def holder(self) -> LeaseInfo | None:
        raw = self._commands.call("HGET", self._keys.leases, self.node)
        return _lease(self.node, raw, 0.0) if raw else None

    def _json(self) -> str:
        """The lease without its end, the time, which Redis adds."""
        return json.dumps({"token": self.token, **asdict(self._process), "beat": self._beat})[:-1]


def leases(client: Any, keys: Keys = Keys()) -> list[LeaseInfo]:  # noqa: B008
    """All leases, by node; `client`: redis-py's, for the broker's database."""
    return list_leases(ClientCommands(client), keys)


def list_leases(commands: Commands, keys: Keys) -> list[LeaseInfo]:
    found = commands.call("HGETALL", keys.leases)
    if isinstance(found, list):  # RESP2
        found = dict(zip(found[::2], found[1::2], strict=True))
    if not found:
        return []
    now = float(commands.call("TIME")[0])
    return sorted(
        (_lease(node.decode(), raw, now) for node, raw in found.items()), key=lambda each: each.node
    )


def _lease(node: str, raw: bytes, now: float) -> LeaseInfo:
    said = json.loads(raw)
    process = Process(**{name: said[name] for name in Process.__dataclass_fields__})
    return LeaseInfo(node, said["token"], process, said["beat"], max(0.0, now - said["at"]), raw)
