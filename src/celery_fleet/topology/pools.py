"""What must hold for the worker pools of a host."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .fields import filled
from .model import Topology
from .problem import Problem, Where, location
from .resolve import resolve
from .units import human_duration
from .variables import AUTO, CANCEL, FINISH, FLEET, GEVENT, HOST, POOL, PREFORK, SOLO
from .work import unknown_queue

Values = Mapping[str, Any]

STOP_MARGIN = 30
"""Seconds that `stop_timeout: auto` leaves a worker after the longest task may have ended."""
REQUEUE_TIMEOUT = 60
"""Seconds that `stop_timeout: auto` gives a worker that puts its tasks back."""


def stop_timeout(pool: Values, topology: Topology) -> int:
    """Seconds that the service of a pool is given to stop."""
    if pool["stop_timeout"] != AUTO:
        return int(pool["stop_timeout"])
    return (
        topology.longest_limit(pool["queues"]) + STOP_MARGIN
        if pool["stop_policy"] == FINISH
        else REQUEUE_TIMEOUT
    )


def host_pool_problems(fleet: Values, host: Values, found: Collection[Problem]) -> list[Problem]:
    """The faults of the pools of a worker host.

    `fleet` and `host`: its variables that were read; `found`: the faults of single values, not told again.
    """
    told = {problem.where for problem in found}
    if ("celery_worker_pools",) in told:
        return []
    pools = filled(HOST, host)["celery_worker_pools"]
    if not pools:
        remedy = "define a pool, or remove the host from the group workers"
        return [Problem(("celery_worker_pools",), "this worker host has no pool", remedy)]
    topology = resolve(fleet)
    problems: list[Problem] = []
    for name, given in pools.items():
        where: Where = ("celery_worker_pools", name)
        pool = filled(POOL, given)
        if ("celery_queues",) not in told:
            problems += _unknown_queues(where, pool, topology)
        problems += _process_problems(where, given, pool)
        problems += _unenforced_limits(where, pool, filled(FLEET, fleet))
        problems += _short_stop(where, pool, topology)
    return problems


def _unknown_queues(where: Where, pool: Values, topology: Topology) -> Iterator[Problem]:
    for position, queue in enumerate(pool.get("queues", [])):
        if queue not in topology.queues:
            yield unknown_queue((*where, "queues", position), queue, topology.queues)


def _process_problems(where: Where, given: Values, pool: Values) -> Iterator[Problem]:
    kind = pool["kind"]
    scale = given.get("autoscale")
    if scale is not None:
        if given.get("concurrency", AUTO) != AUTO:
            yield Problem(
                (*where, "autoscale"), "autoscale and concurrency exclude each other", "remove one of them"
            )
        if kind != PREFORK:
            what = f"a pool of kind {kind} cannot be scaled"
            yield Problem((*where, "autoscale"), what, "set concurrency instead, or kind: prefork")
        if scale.get("min", 0) > scale.get("max", scale.get("min", 0)):
            what = f"min {scale['min']} is more than max {scale['max']}"
            yield Problem((*where, "autoscale", "min"), what, "give a min that is at most max")
    if kind == PREFORK:
        return
    if kind != GEVENT and pool["on_connection_loss"] == CANCEL:
        what = f"a pool of kind {kind} cannot end a running task"
        yield Problem((*where, "on_connection_loss"), what, "set it to continue, or set kind: prefork")
    if given.get("max_tasks_per_child") is not None:
        what = f"a pool of kind {kind} has no children to replace after {given['max_tasks_per_child']} tasks"
        yield Problem((*where, "max_tasks_per_child"), what, "remove it, or set kind: prefork")
    if given.get("memory_per_child", AUTO) != AUTO:
        what = f"a pool of kind {kind} has no children whose memory could be limited"
        yield Problem((*where, "memory_per_child"), what, "remove it, or set kind: prefork")
    if kind == SOLO and given.get("concurrency", AUTO) not in (AUTO, 1):
        what = f"a solo pool runs one task at a time, not {given['concurrency']}"
        yield Problem((*where, "concurrency"), what, "remove it, or set another kind")


def _unenforced_limits(where: Where, pool: Values, fleet: Values) -> Iterator[Problem]:
    """Explicit limits that the kind of pool cannot enforce; the fleet's default promises a queue nothing."""
    if pool["kind"] == PREFORK:
        return
    keys = ["soft_time_limit"] if pool["kind"] == GEVENT else ["time_limit", "soft_time_limit"]
    consumed = pool.get("queues", ())
    sources: list[tuple[Where, Values]] = [
        (("celery_queues", name), queue) for name, queue in fleet["celery_queues"].items() if name in consumed
    ]
    sources += [
        (("celery_task_routes", position), route)
        for position, route in enumerate(fleet["celery_task_routes"])
        if route.get("queue") in consumed
    ]
    for source, values in sources:
        for key in keys:
            if values.get(key) is not None:
                limit = f"{location((*source, key))} ({human_duration(values[key])})"
                yield Problem(
                    (*where, "kind"),
                    f"a pool of kind {pool['kind']} cannot enforce {limit}",
                    "set kind: prefork, remove the limit, or let another pool consume the queue",
                )


def _short_stop(where: Where, pool: Values, topology: Topology) -> Iterator[Problem]:
    if pool["stop_timeout"] == AUTO or pool["stop_policy"] != FINISH:
        return
    longest = topology.longest_limit(pool.get("queues", ()))
    if pool["stop_timeout"] < longest:
        yield Problem(
            (*where, "stop_timeout"),
            f"{human_duration(pool['stop_timeout'])} is shorter than the longest time limit of its queues, "
            f"{human_duration(longest)}: a stop would kill tasks that stop_policy finish lets end",
            f"set it to auto or at least {human_duration(longest)}, or set stop_policy: requeue",
        )
