"""A converge changes what differs from the inventory, restarts what reads it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from acceptance import units
from acceptance.playbook import ALL, Overrides, Playbooks, Run
from hosts import Fleet

HOST, POOL = "worker1", "cpu"
UNIT = units.worker(POOL)
ENVIRONMENT = f"/etc/celery-fleet/pools/{POOL}.env"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/50-pool.conf"


def test_check_of_a_converged_fleet_reports_no_change(playbooks: Playbooks, as_inventoried: None) -> None:
    run = playbooks.run("site.yml", "--check", "--diff")
    assert run.changed == {}
    assert set(run.stats) == set(playbooks.fleet.names)


def test_a_second_run_changes_nothing(playbooks: Playbooks, as_inventoried: None, fleet: Fleet) -> None:
    before = units.main_pids(fleet)
    run = playbooks.run("site.yml")
    assert run.changed == {}
    assert units.replaced(before, units.main_pids(fleet)) == set()


@dataclass(frozen=True)
class Change:
    """A change of the inventory: what --check foretold, what the run did, which services were replaced by it."""

    foretold: Run
    run: Run
    replaced: set[tuple[str, str]]


def change(playbooks: Playbooks, fleet: Fleet, overrides: Overrides) -> Change:
    before = units.main_pids(fleet)
    foretold = playbooks.run("site.yml", "--check", "--diff", overrides=overrides)
    assert units.replaced(before, units.main_pids(fleet)) == set(), "--check has replaced a service"
    run = playbooks.run(overrides=overrides)
    return Change(foretold, run, units.replaced(before, units.main_pids(fleet)))


def with_concurrency(playbooks: Playbooks, number: int) -> Overrides:
    pools = playbooks.value(HOST, "celery_worker_pools")
    pools[POOL]["concurrency"] = number
    return {HOST: {"celery_worker_pools": pools}}


def redis_maxmemory(fleet: Fleet) -> int:
    host = fleet.host(fleet.groups["redis"][0])
    ask = "redis-cli -s /run/redis/redis-server.sock --user admin CONFIG GET maxmemory"
    answer = host.check_output(f"REDISCLI_AUTH=$(cat /etc/redis/admin.password) {ask}")
    return int(answer.splitlines()[-1])


@pytest.fixture(scope="module")
def memory(playbooks: Playbooks, fleet: Fleet) -> int:
    """Bytes that Redis shall have: less than it has."""
    playbooks.converged_to()
    return redis_maxmemory(fleet) - (16 << 20)


@pytest.fixture(scope="module")
def changed(playbooks: Playbooks, fleet: Fleet, memory: int) -> Change:
    """The concurrency of one pool of one host is another one, and its memory limit with it; and so is the memory of Redis."""
    wanted = {ALL: {"redis_maxmemory": f"{memory >> 20}M"}, **with_concurrency(playbooks, 1)}
    return change(playbooks, fleet, wanted)


@pytest.mark.usefixtures("changed")
class TestChangedVariables:
    def test_check_foretells_exactly_the_files_and_the_restart(self, changed: Change, fleet: Fleet) -> None:
        slice_of_all = "/etc/systemd/system/celery-worker.slice"
        redis = fleet.groups["redis"][0]
        assert changed.foretold.files == {
            HOST: {ENVIRONMENT, DROP_IN, slice_of_all},
            redis: {"/etc/redis/redis.conf", "/etc/systemd/system/redis.slice"},
        }
        assert changed.foretold.actions == {HOST: {(UNIT, "restart")}}

    def test_the_diff_shows_it(self, changed: Change) -> None:
        diffs = [
            diff
            for step in changed.foretold.steps
            for diff in step.result.get("diff") or []
            if isinstance(diff, dict) and diff.get("after_header") == ENVIRONMENT
        ]
        assert "--concurrency=2" in diffs[0]["before"]
        assert "--concurrency=1" in diffs[0]["after"]

    def test_the_run_does_what_was_foretold(self, changed: Change) -> None:
        assert changed.run.files == changed.foretold.files
        assert changed.run.actions == changed.foretold.actions

    def test_no_other_service_of_the_fleet_is_restarted(self, changed: Change) -> None:
        assert changed.replaced == {(HOST, UNIT)}

    def test_the_memory_of_redis_changes_while_it_runs(self, fleet: Fleet, memory: int) -> None:
        assert redis_maxmemory(fleet) == memory

    def test_it_is_in_force(self, fleet: Fleet) -> None:
        host = fleet.host(HOST)
        pid = units.main_pid(host, UNIT)
        assert "--concurrency=1" in host.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")

    def test_set_back_restarts_that_pool_alone(self, playbooks: Playbooks, fleet: Fleet) -> None:
        before = units.main_pids(fleet)
        run = playbooks.converged_to()
        assert run
        assert run.actions == {HOST: {(UNIT, "restart")}}
        assert units.replaced(before, units.main_pids(fleet)) == {(HOST, UNIT)}


def test_a_restart_that_a_failed_run_lost_is_made_up_by_the_next(playbooks: Playbooks, fleet: Fleet) -> None:
    """The first run writes what the pools read, then fails before the step that restarts them."""
    playbooks.converged_to()
    queues = playbooks.value(HOST, "celery_queues")
    queues["cleanup"]["priority"] = 2
    wanted = {"celery_queues": queues}
    before = units.main_pids(fleet)

    unusable = {HOST: {"celery_worker_watchdog": "soon"}}
    failed = playbooks.run("site.yml", f"--limit={HOST}", overrides={ALL: wanted, **unusable}, fails=True)
    assert "celery_worker_watchdog" in failed.messages
    assert failed.files == {HOST: {"/etc/celery-fleet/topology.json"}}
    assert units.replaced(before, units.main_pids(fleet)) == set()

    run = playbooks.run("site.yml", f"--limit={HOST}", overrides={ALL: wanted})
    pools = {units.worker(pool) for pool in playbooks.value(HOST, "celery_worker_pools")}
    assert run.files == {}
    assert run.actions == {HOST: {(pool, "restart") for pool in pools}}
    assert units.replaced(before, units.main_pids(fleet)) == {(HOST, pool) for pool in pools}
