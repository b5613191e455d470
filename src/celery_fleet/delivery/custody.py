"""What this process has claimed, across its connections: a lost connection is not the end of a running task."""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from weakref import WeakSet


class Running(Protocol):
    """The tasks that the process goes on with when its connection is lost."""

    def note(self) -> None:
        """The connection is lost."""

    def messages(self) -> Iterable[Any]:
        """The messages of the tasks that were noted and run on."""


class Custody:
    """The messages that this process holds under one `unacked` key.

    A message is settled by its delivery tag, through whichever connection there is. What could not be settled
    because there was none is owed, and paid through the next.
    """

    def __init__(self) -> None:
        self.token = ""
        """Of the lease under which the process claims; empty without one."""
        self.running: Running | None = None
        """None: nothing runs on, so that a channel that is closed gives back all that it has."""
        self.limbo: dict[str, Any] = {}
        """Messages by tag whose channel was closed, and of which it is not yet said whether they run on."""
        self.owed: dict[str, bool] = {}
        """Tags to be settled -> whether the message is to be delivered again."""
        self.suspicious = False
        """A claim may have been made whose answer was never read."""
        self._channels: WeakSet[Any] = WeakSet()
        self._lock = threading.Lock()

    def add(self, channel: Any) -> None:
        self._channels.add(channel)

    def channel(self) -> Any | None:
        """A channel that is open, if there is one."""
        return next((each for each in list(self._channels) if not each.closed), None)

    def owe(self, tag: str, requeue: bool) -> None:
        with self._lock:
            self.owed[tag] = requeue

    def take_owed(self) -> dict[str, bool]:
        """What is owed, to be paid by the caller, or owed again."""
        with self._lock:
            owed, self.owed = self.owed, {}
        for tag in owed:
            self.limbo.pop(tag, None)
        return owed

    def keep(self, messages: Mapping[str, Any]) -> None:
        self.limbo.update(messages)

    def resolve(self) -> tuple[dict[str, Any], list[str]]:
        """The messages in limbo whose tasks run on, by tag, and the tags of the others, in order."""
        limbo, self.limbo = self.limbo, {}
        running = {message.delivery_tag for message in (self.running.messages() if self.running else ())}
        with self._lock:
            held = {tag: message for tag, message in limbo.items() if tag not in self.owed}
        kept = {tag: message for tag, message in held.items() if tag in running}
        return kept, [tag for tag in held if tag not in kept]

    def known(self) -> set[str]:
        """The tags of everything that the process knows it holds."""
        found = set(self.limbo) | set(self.owed)
        for channel in list(self._channels):
            found |= _tags(channel.qos._delivered)
            found |= {*channel._acks, *channel._acks_sent}
        return found


def _tags(delivered: dict[str, Any]) -> set[str]:
    while True:
        try:
            return set(delivered)
        except RuntimeError:  # changed by another thread meanwhile
            continue


_custodies: dict[tuple[int, str], Custody] = {}


def custody_of(unacked_key: str) -> Custody:
    """This process' own; a child begins with nothing."""
    return _custodies.setdefault((os.getpid(), unacked_key), Custody())
