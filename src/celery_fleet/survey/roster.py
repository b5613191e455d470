"""The workers: who should be there, who holds a lease, and what those who answer say of themselves."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

ALIVE, SILENT, DEAD, GONE, STOPPED = "alive", "silent", "dead", "gone", "stopped"

MISSING = (DEAD, GONE, STOPPED)
"""States of workers that should be there and are not."""

FRESH = 10.0
"""Seconds since its last sign of life, refreshed each second, up to which a lease's owner counts as alive."""


@dataclass(frozen=True)
class Lease:
    """Who owns the name of a node. `age`: seconds since the last sign of life."""

    node: str
    host: str
    pid: int
    age: float


@dataclass(frozen=True)
class Answers:
    """What one worker said of itself, as Celery's `inspect` gives it."""

    stats: Mapping[str, Any]
    active: Sequence[Mapping[str, Any]] = ()
    queues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worker:
    """One worker. None: not known, because it did not answer."""

    node: str
    state: str
    """alive; silent: its lease is fresh and it does not answer; dead: its lease is stale; gone: it died, its work
    was given to others, and it has not come back; stopped: a pool of this host without a lease."""
    host: str
    pid: int | None = None
    age: float | None = None
    """Seconds since its last sign of life; of a worker that is gone, since its work was given to others."""
    kind: str | None = None
    concurrency: int | None = None
    busy: int | None = None
    done: int | None = None
    uptime: int | None = None
    queues: tuple[str, ...] = field(default=())

    @property
    def pool(self) -> str:
        return self.node.partition("@")[0]


def roster(
    leases: Sequence[Lease],
    answers: Mapping[str, Answers],
    local: Sequence[str] = (),
    gone: Mapping[str, float] = MappingProxyType({}),
) -> list[Worker]:
    """All workers that are known: by a lease, an answer, as a pool of this host, or as gone.

    `local`: the nodes of this host's pools; `gone`: node -> seconds since its work was given to others.
    """
    of = {lease.node: lease for lease in leases}
    nodes = sorted({*of, *answers, *local, *gone}, key=lambda node: (node.partition("@")[0], node))
    return [
        _present(node, of.get(node), answers[node])
        if node in answers
        else _absent(node, of.get(node), gone.get(node))
        for node in nodes
    ]


def _absent(node: str, lease: Lease | None, gone: float | None) -> Worker:
    """A worker that gave no answer."""
    if lease:
        return Worker(node, SILENT if lease.age <= FRESH else DEAD, lease.host, lease.pid, lease.age)
    host = node.partition("@")[2]
    return Worker(node, STOPPED, host) if gone is None else Worker(node, GONE, host, age=gone)


def _present(node: str, lease: Lease | None, answer: Answers) -> Worker:
    stats, pool = answer.stats, answer.stats.get("pool", {})
    busy = len(answer.active)
    return Worker(
        node,
        ALIVE,
        lease.host if lease else node.partition("@")[2],
        stats.get("pid", lease.pid if lease else None),
        lease.age if lease else None,
        kind_of(pool.get("implementation", "")),
        pool.get("max-concurrency"),
        busy,
        max(0, sum(stats.get("total", {}).values()) - busy),
        stats.get("uptime"),
        answer.queues,
    )


def kind_of(implementation: str) -> str | None:
    """The kind of a pool by the name of its class.

    >>> kind_of("celery.concurrency.prefork:TaskPool"), kind_of("celery.concurrency.thread:TaskPool")
    ('prefork', 'threads')
    """
    module = implementation.partition(":")[0].rpartition(".")[2]
    return {"thread": "threads"}.get(module, module) or None


def local_nodes(topology_path: Path, host: str | None = None) -> list[str]:
    """The nodes that this host's pools are: each has a file of variables beside the topology."""
    host = host or socket.gethostname()
    try:
        return sorted(f"{path.stem}@{host}" for path in (topology_path.parent / "pools").glob("*.env"))
    except OSError:
        return []
