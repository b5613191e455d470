"""The Redis keys of the broker database, and the scripts' view of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEPARATOR = "\x06\x16"
"""Between a queue and the priority of one of its lists; kombu's."""

WAKE_LIMIT = 64
"""Tokens that a wake list holds at most: so many idle workers can be woken at once."""


@dataclass(frozen=True)
class Keys:
    """Names of keys, each with the app's `global_keyprefix`."""

    prefix: str = ""

    @classmethod
    def of(cls, transport_options: Mapping[str, Any]) -> "Keys":
        return cls(transport_options.get("global_keyprefix", "") or "")

    @property
    def leases(self) -> str:
        """Hash: node -> JSON of its lease."""
        return f"{self.prefix}fleet:leases"

    @property
    def parked(self) -> str:
        """Sorted set of messages that are due later than soon, by due time."""
        return f"{self.prefix}fleet:parked"

    @property
    def cancelled(self) -> str:
        """Sorted set of the ids of cancelled tasks, by the time of the mark."""
        return f"{self.prefix}fleet:cancelled"

    @property
    def malformed(self) -> str:
        """List of what no one can decode: the queue as JSON, a newline, the entry as it was."""
        return f"{self.prefix}fleet:malformed"

    @property
    def contract(self) -> str:
        """String, JSON: what producers and workers must agree on."""
        return f"{self.prefix}fleet:contract"

    @property
    def pending(self) -> str:
        """Hash: id of a task that no worker has taken yet -> where its message is (see `pending`)."""
        return f"{self.prefix}fleet:pending"

    @property
    def paused(self) -> str:
        """Hash: a queue that is paused or a worker that is drained -> who said so (see `pausing`)."""
        return f"{self.prefix}fleet:paused"

    def owner(self, node: str) -> str:
        """String: the token of the process that may claim for the node; empty after a reaper took it."""
        return f"{self.prefix}fleet:owner:{node}"

    def unacked(self, node: str) -> str:
        """Hash: delivery tag -> what the node has claimed and not acknowledged, as kombu writes it."""
        return f"{self.prefix}{unacked_key(node)}"

    def unacked_index(self, node: str) -> str:
        """Sorted set of the tags in `unacked`, by the time of the claim."""
        return f"{self.prefix}{unacked_index_key(node)}"

    def wake(self, queue: str) -> str:
        """List of tokens: each wakes one idle consumer of the queue."""
        return f"{self.prefix}fleet:wake:{queue}"

    def resumed(self, field: str) -> str:
        """List of tokens: each wakes a consumer that idles because this field of `paused` is there."""
        return f"{self.prefix}fleet:resumed:{field}"

    def queue(self, name: str, priority: int) -> str:
        """List of the queue's messages of one priority."""
        return f"{self.prefix}{name}{SEPARATOR}{priority}" if priority else f"{self.prefix}{name}"

    def bindings(self, exchange: str) -> str:
        """Set of the queues bound to an exchange; kombu's."""
        return f"{self.prefix}_kombu.binding.{exchange}"


def unacked_key(node: str) -> str:
    """For the transport option `unacked_key`, to which kombu adds the prefix."""
    return f"unacked:{node}"


def unacked_index_key(node: str) -> str:
    return f"unacked_index:{node}"


def unacked_mutex_key(node: str) -> str:
    return f"unacked_mutex:{node}"
