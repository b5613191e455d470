"""Pauses: queues from which nobody takes, and workers that take nothing, until someone says otherwise.

A mark in Redis that every claim looks at, in the same step: it holds for whoever comes later, and survives restarts. What
a worker has taken before, it runs. Consumers that idle because of a mark wait for its end, and are woken then.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .commands import ClientCommands
from .keys import Keys
from .scripts import PAUSE, RESUME

QUEUE, WORKER = "queue", "worker"

STOCK = "celery_delivery is stock: only workers of atomic delivery can be paused"
"""Why it is refused where workers do not look at the marks."""

_STEPS = range(10)
"""Every list that a queue may have; one that is not there is empty."""


@dataclass(frozen=True)
class Pause:
    """A queue that is paused, or a worker that is drained."""

    kind: str
    """queue or worker."""
    name: str
    """Of the queue; of the worker (`pool@host`), or of a pool: all its workers, on all hosts."""
    by: str
    at: float
    """Seconds since the epoch."""
    reason: str = ""

    def holds(self, node: str) -> bool:
        """Whether it drains the worker of this node."""
        return self.kind == WORKER and self.name in (node, pool_of(node))


def pause(  # noqa: PLR0917
    client: Any,
    kind: str,
    name: str,
    by: str,
    reason: str = "",
    keys: Keys = Keys(),  # noqa: B008
) -> bool:
    """From now on nothing is taken. False: it was so already, and stays as it was said then.

    `client`: redis-py's, for the broker's database.
    """
    said = json.dumps({"by": by, "at": time.time(), "reason": reason})
    return bool(ClientCommands(client).run_again(PAUSE, 1, keys.paused, field(kind, name), said))


def resume(client: Any, kind: str, name: str, queues: Collection[str], keys: Keys = Keys()) -> bool:  # noqa: B008
    """Goes on: idle consumers of these queues are woken. False: it was not paused."""
    of = field(kind, name)
    lists = [
        key for queue in queues for key in (keys.wake(queue), *(keys.queue(queue, step) for step in _STEPS))
    ]
    names = [keys.paused, keys.resumed(of), *lists]
    return bool(ClientCommands(client).run_again(RESUME, len(names), *names, of, len(_STEPS)))


def pauses(client: Any, keys: Keys = Keys()) -> list[Pause]:  # noqa: B008
    """All there are: queues first, then workers, by name."""
    found = [_pause(name.decode(), json.loads(said)) for name, said in client.hgetall(keys.paused).items()]
    return sorted(found, key=lambda pause: (pause.kind, pause.name))


def _pause(of: str, said: dict[str, Any]) -> Pause:
    kind, _, name = of.partition(":")
    return Pause(kind, name, said["by"], said["at"], said["reason"])


def field(kind: str, name: str) -> str:
    """The field of a mark. Raises ValueError for another kind."""
    if kind not in (QUEUE, WORKER):
        raise ValueError(f"{kind!r} cannot be paused: a {QUEUE} or a {WORKER} can")
    return f"{kind}:{name}"


def pool_of(node: str) -> str:
    return node.partition("@")[0]
