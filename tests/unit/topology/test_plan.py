"""What a host gets fits into it, explicit sizes are kept, and more memory never gives less."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_fleet.topology import (
    DoesNotFit,
    HostPlan,
    InvalidTopology,
    auto_child_memory,
    auto_concurrency,
    plan_host,
)
from unit.topology.fleets import variables

MIB, GIB = 2**20, 2**30


def plan(memory: float, *, cpus: int = 8, groups: tuple[str, ...] = ("workers",), **changes: Any) -> HostPlan:
    """The plan of a worker with one pool; memory in GiB."""
    changes = {"celery_worker_pools": {"default": {"queues": ["celery", "email"]}}, **changes}
    return plan_host(variables(**changes), name="worker1", groups=groups, cpus=cpus, memory=int(memory * GIB))


def pools(*settings: dict[str, Any]) -> dict[str, Any]:
    """Pools p0, p1, ... of one queue."""
    return {f"p{number}": {"queues": ["celery"], **each} for number, each in enumerate(settings)}


def refusal(memory: float, **arguments: Any) -> str:
    with pytest.raises(DoesNotFit) as caught:
        plan(memory, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cpus", "memory", "concurrency", "child"),
    [(8, 16, 6, 3), (16, 32, 12, 4), (8, 15.5, 6, 3), (16, 31.2, 12, 4), (8, 15.6, 6, 3)],
)
def test_concurrency_and_memory_follow_the_host(
    cpus: int, memory: float, concurrency: int, child: int
) -> None:
    pool = plan(memory, cpus=cpus).pools["default"]
    assert pool.concurrency == concurrency
    assert pool.memory_per_child == child * GIB
    assert pool.memory_max <= memory * 0.85 * GIB


@pytest.mark.parametrize(
    ("cpus", "kind", "expected"),
    [
        (1, "prefork", 1),
        (2, "prefork", 1),
        (4, "prefork", 3),
        (8, "gevent", 50),
        (1, "threads", 4),
        (8, "threads", 16),
        (8, "solo", 1),
    ],
)
def test_auto_concurrency(cpus: int, kind: str, expected: int) -> None:
    assert auto_concurrency(cpus, kind) == expected


@pytest.mark.parametrize(
    ("memory", "child"), [(0.25, 0.0625), (2, 0.375), (4, 0.75), (7.7, 1.5), (64, 6), (128, 10)]
)
def test_auto_child_memory(memory: float, child: float) -> None:
    assert auto_child_memory(int(memory * GIB)) == child * GIB


def test_everything_of_a_pool_is_in_its_plan() -> None:
    settings = {
        "queues": ["email", "celery"],
        "concurrency": 4,
        "prefetch_multiplier": 2,
        "max_tasks_per_child": 10,
        "memory_per_child": "2G",
        "memory_parent": "512M",
        "stop_policy": "finish",
        "on_connection_loss": "cancel",
        "log_level": "debug",
        "environment": {"SMTP_HOST": "other", "N": 1},
        "sandbox": {
            "ReadWritePaths": ["/srv/cpu"],
            "ProtectHome": "read-only",
            "RestrictNamespaces": "false",
        },
    }
    data = plan(16, celery_worker_pools={"cpu": settings}).as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["pools"]["cpu"] == {
        "name": "cpu",
        "queues": ["email", "celery"],
        "kind": "prefork",
        "concurrency": 4,
        "autoscale": None,
        "prefetch_multiplier": 2,
        "max_tasks_per_child": 10,
        "memory_per_child": 2 * GIB,
        "memory_max": 8 * GIB + 512 * MIB,
        "stop_policy": "finish",
        "stop_timeout": 1830,
        "on_connection_loss": "cancel",
        "log_level": "debug",
        "environment": {"SMTP_HOST": "other", "WORKERS": "4", "DEBUG": "false", "N": "1"},
        "sandbox": {"ReadWritePaths": ["/srv/cpu"], "ProtectHome": "read-only", "RestrictNamespaces": False},
    }
    assert (data["name"], data["cpus"], data["memory"]) == ("worker1", 8, 16 * GIB)
    assert data["redis_maxmemory"] is None


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"queues": ["email"]}, 90),
        ({"queues": ["bulk"]}, 7230),
        ({"queues": ["email", "bulk"], "stop_policy": "requeue"}, 60),
        ({"queues": ["email"], "stop_timeout": "5m"}, 300),
        ({"queues": ["email"], "stop_timeout": "10", "stop_policy": "requeue"}, 10),
    ],
)
def test_stop_timeout(settings: dict[str, Any], seconds: int) -> None:
    routes = [{"task": "shop.long", "queue": "bulk", "time_limit": "2h"}]
    planned = plan(16, celery_worker_pools={"x": settings}, celery_task_routes=routes)
    assert planned.pools["x"].stop_timeout == seconds


def test_auto_pools_share_the_concurrency_of_the_host() -> None:
    planned = plan(
        64, cpus=16, celery_worker_pools=pools({}, {"concurrency": 3}, {}, {"kind": "gevent"}, {}, {}, {})
    )
    assert [pool.concurrency for pool in planned.pools.values()] == [3, 3, 3, 50, 2, 2, 2]


def test_scaled_pool_counts_with_its_most_children() -> None:
    scaled = {"autoscale": {"min": 2, "max": 5}, "memory_per_child": "1G"}
    pool = plan(16, celery_worker_pools=pools(scaled)).pools["p0"]
    assert (pool.concurrency, pool.autoscale) == (5, {"min": 2, "max": 5})
    assert pool.memory_max == 5 * GIB + 256 * MIB


@pytest.mark.parametrize("kind", ["threads", "gevent", "solo"])
def test_pool_of_one_process(kind: str) -> None:
    pool = plan(16, celery_worker_pools=pools({"kind": kind})).pools["p0"]
    assert pool.max_tasks_per_child is None
    assert pool.memory_max == 3 * GIB + 256 * MIB


def test_one_child_cannot_fill_its_pool() -> None:
    pool = plan(1.5, cpus=2).pools["default"]
    assert pool.memory_per_child == auto_child_memory(int(1.5 * GIB))
    small = plan(0.75, cpus=2, celery_worker_pools=pools({"concurrency": 3})).pools["p0"]
    assert small.memory_per_child + 256 * MIB <= small.memory_max


def test_hosts_say_what_their_facts_do_not() -> None:
    planned = plan(64, cpus=32, celery_host_cpus=4, celery_host_memory="8G", celery_system_reserve="1G")
    assert (planned.cpus, planned.memory, planned.reserve) == (4, 8 * GIB, GIB)
    assert planned.pools["default"].concurrency == 3


@pytest.mark.parametrize(
    ("groups", "memory", "maxmemory"),
    [
        (("redis",), 2, int((2 * GIB - 2 * GIB * 15 // 100) / 1.5) // MIB * MIB),
        (("redis", "workers"), 16, int((16 * GIB - 16 * GIB * 15 // 100) / 1.5 / 4) // MIB * MIB),
    ],
)
def test_redis_gets_its_part(groups: tuple[str, ...], memory: int, maxmemory: int) -> None:
    assert plan(memory, groups=groups).redis_maxmemory == maxmemory


def test_explicit_redis_memory_is_kept() -> None:
    assert plan(4, groups=("redis",), redis_maxmemory="512M").redis_maxmemory == 512 * MIB


def test_host_that_is_asked_nothing_is_never_refused() -> None:
    planned = plan(0.125, groups=("monitoring",))
    assert planned.pools == {}
    assert planned.redis_maxmemory is None


def test_refusal_has_a_table_of_who_asks_for_what() -> None:
    asked = pools({"memory_per_child": "2G", "concurrency": 6}, {"kind": "gevent"}, {"concurrency": 4})
    text = refusal(8, groups=("redis", "workers"), redis_maxmemory="1G", celery_worker_pools=asked)
    assert text.splitlines() == [
        "worker1 has 8G of memory, and 15.8G are asked of it.",
        "                    ASKS FOR  PARENT  TOTAL",
        "system reserve                         1.2G",
        "Redis               1.5 x 1G           1.5G",
        "pool p0               6 x 2G    256M  12.2G",
        "pool p1 (auto)       1 x 64M    256M   320M",
        "pool p2 (auto)       4 x 64M    256M   512M",
        "sum                                   15.8G",
        "memory of the host                       8G",
        "missing                                7.8G",
        "Remedy: set concurrency of the pool p0 to 2, or lower memory_per_child or memory_parent of the pool "
        "p0, or move a pool to another host, or lower redis_maxmemory, or give the host more memory.",
    ]


def test_remedy_of_a_refusal_helps() -> None:
    asked = {"memory_per_child": "2G", "concurrency": 7}
    text = refusal(8, celery_worker_pools=pools(asked, {"kind": "gevent"}))
    advised = re.search(r"set concurrency of the pool p0 to (\d+)", text)
    assert advised
    plan(8, celery_worker_pools=pools({**asked, "concurrency": int(advised[1])}, {"kind": "gevent"}))
    refusal(8, celery_worker_pools=pools({**asked, "concurrency": int(advised[1]) + 1}, {"kind": "gevent"}))


@pytest.mark.parametrize(
    "arguments",
    [
        {"celery_worker_pools": pools({"memory_parent": "3G"})},
        {"celery_system_reserve": "3G"},
        {"groups": ("redis", "workers"), "redis_maxmemory": "1536M"},
        {"celery_worker_pools": pools({"concurrency": 100})},
    ],
)
def test_what_cannot_fit_is_refused(arguments: dict[str, Any]) -> None:
    assert "missing" in refusal(2, **arguments)


def test_table_of_a_plan_tells_what_is_free() -> None:
    table = plan(16).table
    assert re.search(r"^pool default \(auto\) +6 x 3G, capped +256M +13\.6G$", table, re.MULTILINE)
    assert table.splitlines()[-1].startswith("free")


def test_bad_variables_are_refused() -> None:
    with pytest.raises(InvalidTopology, match="concurrency: 0 is not"):
        plan(16, celery_worker_pools=pools({"concurrency": 0}))


SIZES = st.integers(64, 4096).map(lambda mebibytes: f"{mebibytes}M")
POOL = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.just("auto") | st.integers(1, 12),
        "memory_per_child": st.just("auto") | SIZES,
        "memory_parent": st.integers(16, 512).map(lambda mebibytes: f"{mebibytes}M"),
    },
)
OTHER = st.fixed_dictionaries({"kind": st.sampled_from(["gevent", "threads", "solo"])})
SCALED = st.fixed_dictionaries({"autoscale": st.just({"min": 1, "max": 5})})
POOLS = st.lists(POOL | OTHER | SCALED, min_size=1, max_size=5).map(lambda each: pools(*each))
HOST = st.fixed_dictionaries(
    {"groups": st.sampled_from([("workers",), ("workers", "redis")]), "cpus": st.integers(1, 64)},
    optional={"redis_maxmemory": SIZES, "celery_system_reserve": SIZES},
)
MEMORY = st.integers(256 * MIB, 128 * GIB).map(lambda size: size / GIB)


def fitting(memory: float, asked: dict[str, Any], host: dict[str, Any]) -> HostPlan:
    """The plan of the first host, each twice as large as the one before, that can hold what is asked."""
    while True:
        try:
            return plan(memory, celery_worker_pools=asked, **host)
        except DoesNotFit:
            memory *= 2


@given(MEMORY, POOLS, HOST)
def test_sum_never_exceeds_the_memory(memory: float, asked: dict[str, Any], host: dict[str, Any]) -> None:
    planned = fitting(memory, asked, host)
    redis = (planned.redis_maxmemory or 0) * 3 / 2
    assert planned.reserve + redis + sum(pool.memory_max for pool in planned.pools.values()) <= planned.memory


@given(MEMORY, POOLS, HOST)
def test_every_pool_can_run(memory: float, asked: dict[str, Any], host: dict[str, Any]) -> None:
    planned = fitting(memory, asked, host)
    assert list(planned.pools) == list(asked)
    for name, pool in planned.pools.items():
        assert pool.concurrency >= 1
        parent = int(str(asked[name].get("memory_parent", "256M")).rstrip("M")) * MIB
        assert 64 * MIB <= pool.memory_per_child <= pool.memory_max - parent


@given(MEMORY, POOLS, HOST)
def test_explicit_values_are_never_changed(
    memory: float, asked: dict[str, Any], host: dict[str, Any]
) -> None:
    planned = fitting(memory, asked, host)
    for name, wanted in asked.items():
        pool = planned.pools[name]
        if wanted.get("concurrency", "auto") != "auto":
            assert pool.concurrency == wanted["concurrency"]
        if wanted.get("memory_per_child", "auto") != "auto":
            assert f"{pool.memory_per_child // MIB}M" == wanted["memory_per_child"]
            assert pool.memory_max >= pool.concurrency * pool.memory_per_child
    if "redis_maxmemory" in host and planned.redis_maxmemory is not None:
        assert f"{planned.redis_maxmemory // MIB}M" == host["redis_maxmemory"]


@given(MEMORY, st.integers(0, 64 * GIB), POOLS, HOST)
def test_more_memory_never_gives_less(
    memory: float, more: int, asked: dict[str, Any], host: dict[str, Any]
) -> None:
    small = fitting(memory, asked, host)
    large = plan((small.memory + more) / GIB, celery_worker_pools=asked, **host)
    assert (large.redis_maxmemory or 0) >= (small.redis_maxmemory or 0)
    for name, pool in small.pools.items():
        assert large.pools[name].memory_max >= pool.memory_max
        assert large.pools[name].memory_per_child >= pool.memory_per_child
        assert large.pools[name].concurrency == pool.concurrency


@given(st.integers(1, 256), st.integers(1, 20))
@settings(max_examples=50)
def test_auto_shares_sum_to_that_of_the_host(cpus: int, number: int) -> None:
    planned = plan(1024, cpus=cpus, celery_worker_pools=pools(*[{}] * number))
    shares = [pool.concurrency for pool in planned.pools.values()]
    assert sum(shares) == max(auto_concurrency(cpus), number)
    assert shares == sorted(shares, reverse=True)
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("groups", "more"),
    [(("console",), 256), (("console", "flower"), 384), (("monitoring",), 256), (("edge",), 0)],
)
def test_services_of_the_host_have_their_memory(groups: tuple[str, ...], more: int) -> None:
    assert plan(8, groups=("workers", *groups)).reserve - plan(8).reserve == more * MIB
    assert plan(8, groups=("workers", *groups), celery_system_reserve="1G").reserve == GIB
