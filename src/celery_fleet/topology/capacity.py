"""How the CPUs and the memory of a host are divided. Memory in bytes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .units import GIB, MIB
from .variables import AUTO, GEVENT, LEAST_CHILD_MEMORY, PREFORK, SOLO

LEAST_RESERVE = 256 * MIB
LEAST_REDIS_MEMORY = 64 * MIB


def auto_concurrency(cpus: int, kind: str = PREFORK) -> int:
    """How many tasks at once: processes leave a quarter of the CPUs to the rest; other kinds wait for I/O."""
    if kind == SOLO:
        return 1
    if kind == GEVENT:
        return 50
    return max(1, cpus * 3 // 4) if kind == PREFORK else max(4, cpus * 2)


def auto_child_memory(memory: int) -> int:
    """Bytes for one child: 3 GiB on a host of 16 GiB, 4 GiB on one of 32 GiB, 3/16 of smaller ones.

    A host of 16 GiB reports a little less: from 4 GiB on, memory is rounded up to whole GiB. 64 MiB at least.
    """
    nominal = -(-memory // GIB) * GIB if memory >= 4 * GIB else memory
    child = 2 * GIB + nominal // 16 if nominal >= 16 * GIB else nominal * 3 // 16
    return max(LEAST_CHILD_MEMORY, child // MIB * MIB)


SERVICES: Mapping[str, int] = MappingProxyType(
    {"console": 256 * MIB, "flower": 128 * MIB, "monitoring": 256 * MIB, "tracing": 512 * MIB}
)
"""Bytes that the services of a group take beside the system."""


def auto_reserve(memory: int, groups: Collection[str] = ()) -> int:
    """Bytes for the system: 15 % of the memory, 256 MiB at least, and what the services of the groups take."""
    return max(LEAST_RESERVE, memory * 15 // 100) + sum(SERVICES.get(group, 0) for group in groups)


@dataclass(frozen=True)
class RedisMemory:
    maxmemory: int
    claim: int
    """What it may take at most, while it copies itself to disk."""


@dataclass(frozen=True)
class Grant:
    """What a pool gets, in bytes: the limit of a child and that of the whole service."""

    child: int
    service: int


@dataclass(frozen=True)
class Demand:
    """What a pool needs."""

    settings: Mapping[str, Any]
    concurrency: int

    @property
    def children(self) -> int:
        """Processes that run tasks; threads and greenlets share one."""
        return self.concurrency if self.settings["kind"] == PREFORK else 1

    @property
    def parent(self) -> int:
        return int(self.settings["memory_parent"])

    @property
    def explicit(self) -> bool:
        return bool(self.settings["memory_per_child"] != AUTO)

    @property
    def least_child(self) -> int:
        return int(self.settings["memory_per_child"]) if self.explicit else LEAST_CHILD_MEMORY

    @property
    def least(self) -> int:
        """The memory without which the pool is refused."""
        return self.total(self.least_child)

    def total(self, child: int) -> int:
        return self.children * child + self.parent


def concurrency_of(pools: Mapping[str, Mapping[str, Any]], cpus: int) -> dict[str, int]:
    """Prefork pools without a concurrency share that of the host; the first ones get what cannot be split."""
    sharing = [
        name
        for name, pool in pools.items()
        if pool["kind"] == PREFORK and pool["concurrency"] == AUTO and not pool["autoscale"]
    ]
    each, over = divmod(auto_concurrency(cpus), max(1, len(sharing)))
    shares = {name: max(1, each + (position < over)) for position, name in enumerate(sharing)}

    def tasks(name: str, pool: Mapping[str, Any]) -> int:
        if pool["autoscale"]:
            return int(pool["autoscale"]["max"])
        if pool["concurrency"] != AUTO:
            return int(pool["concurrency"])
        return shares[name] if name in shares else auto_concurrency(cpus, pool["kind"])

    return {name: tasks(name, pool) for name, pool in pools.items()}


def redis_memory(maxmemory: int | str, available: int, beside_pools: bool) -> RedisMemory:
    """Redis may take half as much again as maxmemory: copies of pages while it forks, buffers of its file."""
    if maxmemory != AUTO:
        return RedisMemory(int(maxmemory), -(-int(maxmemory) * 3 // 2))
    claim = max(LEAST_REDIS_MEMORY * 3 // 2, available // 4 if beside_pools else available)
    return RedisMemory(claim * 2 // 3 // MIB * MIB, claim)


def grant_to(demand: Demand, shared: int, auto_child: int) -> Grant:
    if demand.explicit:
        return Grant(demand.least_child, demand.least)
    share = demand.least + shared
    # One child alone must not reach the limit of the service: the kernel would choose whom to kill.
    child = min(auto_child, (share - demand.parent) // MIB * MIB)
    return Grant(child, min(demand.total(child), max(demand.least, share // MIB * MIB)))
