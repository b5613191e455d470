"""Looks at the whole fleet, for the verbs that show it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis

from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.lease import KEPT_OUT
from celery_fleet.delivery.lease import leases as list_leases
from celery_fleet.delivery.parking import count_parked
from celery_fleet.store.schedules import Schedules

from .asking import ask
from .backlog import Backlog, read_backlogs
from .health import BeatReading, RedisReading
from .reach import Reach
from .roster import FRESH, SILENT, Lease, Worker, local_nodes, roster


@dataclass(frozen=True)
class Staff:
    """The workers, and who of them consumes what."""

    workers: list[Worker]

    @property
    def consumers(self) -> Counter[str]:
        """How many of the workers that answered consume each queue."""
        return Counter(queue for worker in self.workers for queue in worker.queues)

    @property
    def complete(self) -> bool:
        """Whether every worker that is alive has answered."""
        return not any(worker.state == SILENT for worker in self.workers)


def look_at_staff(reach: Reach, timeout: float, active: bool = True) -> Staff:
    leases = read_leases(reach)
    # Workers on the stock transport have no leases: then whoever answers is there.
    alive = [lease.node for lease in leases if lease.age <= FRESH] if leases else None
    answers = ask(reach.app, alive, timeout, active)
    gone = {node: age for node, age in read_gone(reach).items() if not is_forgotten(reach, node, age)}
    return Staff(roster(leases, answers, local_nodes(reach.topology_path), gone))


def look_at_queues(reach: Reach) -> list[Backlog]:
    keys = Keys(reach.prefix)
    return read_backlogs(reach.broker, list(reach.topology.queues), count_parked(reach.broker, keys), keys)


def read_leases(reach: Reach) -> list[Lease]:
    found = list_leases(reach.broker, Keys(reach.prefix))
    return [Lease(lease.node, lease.host, lease.pid, lease.age) for lease in found]


def read_gone(reach: Reach) -> dict[str, float]:
    """Node -> seconds since its work was given to others: for a week, unless it comes back."""
    # Who may claim for a node has its token there; it is emptied when the work is given away.
    start = Keys(reach.prefix).owner("")
    keys = [key.decode() for key in reach.broker.scan_iter(f"{start}*", count=1000, _type="string")]
    pipe = reach.broker.pipeline(transaction=False)
    for key in keys:
        pipe.get(key)
        pipe.ttl(key)
    answers = pipe.execute()
    return {
        key.removeprefix(start): float(KEPT_OUT - ttl)
        for key, token, ttl in zip(keys, answers[::2], answers[1::2], strict=True)
        if token == b"" and ttl > 0
    }


def is_forgotten(reach: Reach, node: str, gone: float) -> bool:
    """Whether an operator has said, since the worker is gone, that it is not to come back."""
    said = reach.state.hget(_forgotten(reach), node)
    return said is not None and float(cast(bytes, said)) >= time.time() - gone - 1


def forget(reach: Reach, node: str) -> None:
    """The worker is not expected any more, until it comes back."""
    reach.state.hset(_forgotten(reach), node, str(time.time()))
    reach.state.expire(_forgotten(reach), KEPT_OUT)


def _forgotten(reach: Reach) -> str:
    """Hash: node -> when an operator said so. A week is as long as Redis remembers who is gone."""
    return f"{reach.prefix}fleet:forgotten"


def look_at_beat(reach: Reach) -> BeatReading:
    state = Schedules(reach.state, reach.prefix).read()
    return BeatReading(len(reach.topology.beat), max(0.0, time.time() - state.at) if state else None)


def look_at_redis(client: "redis.Redis") -> RedisReading:
    """What the server says of itself; what this user may not ask stays unknown."""
    try:
        said = {**client.info("server"), **client.info("memory"), **client.info("persistence")}
    except redis.exceptions.NoPermissionError:
        return RedisReading()
    return redis_reading(said)


def redis_reading(said: Mapping[str, Any]) -> RedisReading:
    """From what INFO says."""
    append_only = bool(said.get("aof_enabled"))
    written = [said.get("rdb_last_bgsave_status", "ok")]
    if append_only:
        written += [said.get("aof_last_write_status", "ok"), said.get("aof_last_bgrewrite_status", "ok")]
    return RedisReading(
        version=said.get("redis_version"),
        used=said.get("used_memory"),
        limit=said.get("maxmemory"),
        append_only=append_only,
        last_write_ok=all(status == "ok" for status in written),
        policy=said.get("maxmemory_policy"),
    )
