"""P1: a host that asks for it has a queue of its name, known to all hosts, and a pool that consumes it."""

from typing import Any

import pytest

from celery_fleet.topology import plan_host, topology_document, with_host_queues
from celery_fleet.topology.units import GIB
from unit.topology.fleets import variables


def expanded(setting: Any) -> dict[str, dict[str, Any]]:
    """The variables of two workers, the first of which has the setting."""
    hosts = {"worker1": variables("worker1", celery_host_queue=setting), "worker2": variables("worker2")}
    found = with_host_queues(hosts, list(hosts))
    assert list(found.problems) == []
    return {name: dict(given) for name, given in found.variables.items()}


def test_every_host_knows_the_queue_and_its_own_host_alone_consumes_it() -> None:
    hosts = expanded(True)
    documents = [topology_document(given) for given in hosts.values()]
    assert documents[0] == documents[1]
    assert set(documents[0]["queues"]) == {"celery", "email", "bulk", "worker1"}
    pools = {
        name: plan_host(given, name=name, groups=["workers"], cpus=4, memory=8 * GIB).pools
        for name, given in hosts.items()
    }
    assert set(pools["worker1"]) == {"default", "worker1"}
    assert (pools["worker1"]["worker1"].queues, pools["worker1"]["worker1"].concurrency) == (("worker1",), 1)
    assert set(pools["worker2"]) == {"bulk"}


def test_its_settings_are_those_of_a_queue_and_of_a_pool() -> None:
    setting = {
        "queue": {"time_limit": "1m", "soft_time_limit": 30, "priority": 9},
        "pool": {"concurrency": 3},
    }
    given = expanded(setting)["worker1"]
    queue = topology_document(given)["queues"]["worker1"]
    assert (queue["time_limit"], queue["soft_time_limit"], queue["priority"]) == (60, 30, 9)
    pool = plan_host(given, name="worker1", groups=["workers"], cpus=4, memory=8 * GIB).pools["worker1"]
    assert (pool.concurrency, pool.stop_timeout) == (3, 90)


def test_a_pool_may_be_scaled() -> None:
    given = expanded({"pool": {"autoscale": {"min": 1, "max": 2}}})["worker1"]
    pool = plan_host(given, name="worker1", groups=["workers"], cpus=4, memory=8 * GIB).pools["worker1"]
    assert pool.autoscale == {"min": 1, "max": 2}


@pytest.mark.parametrize("setting", [False, None, "false"])
def test_nobody_gets_one_unasked(setting: Any) -> None:
    assert expanded(setting)["worker1"] == variables("worker1", celery_host_queue=setting)
