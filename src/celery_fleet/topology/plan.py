"""From the CPUs and the memory of a host to the concurrency and the memory limits of its pools.

What the inventory says explicitly is a promise: it fits, or the host is refused with a table of who asks for
what. What is `auto` takes an even part of the rest.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .capacity import Demand, Grant, auto_child_memory, auto_reserve, concurrency_of, grant_to, redis_memory
from .fields import filled
from .model import Topology
from .pools import host_pool_problems, stop_timeout
from .problem import InvalidTopology
from .resolve import resolve
from .table import memory_table, refusal
from .variables import AUTO, HOST, POOL, PREFORK, read_variables
from .work import read_work


@dataclass(frozen=True)
class PoolPlan:
    """One pool as its service is run: memory in bytes, times in seconds."""

    name: str
    queues: tuple[str, ...]
    kind: str
    concurrency: int
    """Processes, threads or greenlets; the most of them when the pool is scaled."""
    autoscale: Mapping[str, int] | None
    """{"min": ..., "max": ...}."""
    prefetch_multiplier: int
    max_tasks_per_child: int | None
    memory_per_child: int
    memory_max: int
    """Limit of the whole service."""
    stop_policy: str
    stop_timeout: int
    on_connection_loss: str
    """continue or cancel: what becomes of running tasks."""
    log_level: str
    environment: Mapping[str, str]
    sandbox: Mapping[str, Any]
    """What it may do beyond the sandbox of all pools: systemd's directives."""


@dataclass(frozen=True)
class HostPlan:
    """What one host runs. Memory in bytes; `redis_maxmemory` None where Redis is not."""

    name: str
    cpus: int
    memory: int
    reserve: int
    redis_maxmemory: int | None
    pools: Mapping[str, PoolPlan]
    table: str
    """Who asks for how much memory, for people."""

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data."""
        data = asdict(self)
        for pool in data["pools"].values():
            pool["queues"] = list(pool["queues"])
        return data


class DoesNotFit(ValueError):  # noqa: N818 - it names what was found
    """A host has less memory than is asked of it. The text: a table of who asks for what, and the remedy."""


def plan_host(
    variables: Mapping[str, Any], *, name: str, groups: Collection[str], cpus: int, memory: int
) -> HostPlan:
    """The plan of a host of these groups that has `cpus` CPUs and `memory` bytes.

    `variables` are those that the host sees. Raises DoesNotFit when explicit sizes do not fit into the memory
    or too little is left for the rest, and InvalidTopology when the variables have faults.
    """
    work, problems = read_work(variables)
    own, own_problems = read_variables(variables, HOST)
    topology = resolve(work)
    host = filled(HOST, own)
    given = host["celery_worker_pools"] if "workers" in groups else {}
    problems += own_problems
    if "workers" in groups:
        problems += host_pool_problems(work, own, problems)
    if problems:
        raise InvalidTopology(problems, f"the inventory of {name}")

    cpus = cpus if host["celery_host_cpus"] == AUTO else host["celery_host_cpus"]
    memory = memory if host["celery_host_memory"] == AUTO else host["celery_host_memory"]
    reserve = host["celery_system_reserve"]
    reserve = auto_reserve(memory, groups) if reserve == AUTO else reserve
    pools = {pool: filled(POOL, settings) for pool, settings in given.items()}
    demands = {pool: Demand(pools[pool], tasks) for pool, tasks in concurrency_of(pools, cpus).items()}
    redis = (
        redis_memory(host["redis_maxmemory"], memory - reserve, bool(pools)) if "redis" in groups else None
    )

    fixed = reserve + (redis.claim if redis else 0)
    rest = memory - fixed - sum(demand.least for demand in demands.values())
    if rest < 0 and (redis or demands):
        raise DoesNotFit(refusal(name, memory, reserve, redis, demands))
    shared = rest // max(1, sum(not demand.explicit for demand in demands.values()))
    grants = {pool: grant_to(demand, shared, auto_child_memory(memory)) for pool, demand in demands.items()}
    return HostPlan(
        name=name,
        cpus=cpus,
        memory=memory,
        reserve=reserve,
        redis_maxmemory=redis.maxmemory if redis else None,
        pools={
            pool: _pool_plan(pool, demand, grants[pool], topology, host["celery_environment"])
            for pool, demand in demands.items()
        },
        table=memory_table(memory, reserve, redis, demands, grants),
    )


def _pool_plan(
    name: str, demand: Demand, grant: Grant, topology: Topology, fleet_environment: Mapping[str, str]
) -> PoolPlan:
    pool = demand.settings
    return PoolPlan(
        name=name,
        queues=tuple(pool["queues"]),
        kind=pool["kind"],
        concurrency=demand.concurrency,
        autoscale=pool["autoscale"],
        prefetch_multiplier=pool["prefetch_multiplier"],
        max_tasks_per_child=pool["max_tasks_per_child"] if pool["kind"] == PREFORK else None,
        memory_per_child=grant.child,
        memory_max=grant.service,
        stop_policy=pool["stop_policy"],
        stop_timeout=stop_timeout(pool, topology),
        on_connection_loss=pool["on_connection_loss"],
        log_level=pool["log_level"],
        environment={**fleet_environment, **pool["environment"]},
        sandbox=pool["sandbox"],
    )
