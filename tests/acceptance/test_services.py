"""The pools as systemd services: verbs of an operator, lost processes, too much memory, stops."""

from __future__ import annotations

import json
import time

import pytest

from acceptance import units
from acceptance.application import SLEEP, Application
from acceptance.overrun import Overrun
from acceptance.waiting import eventually
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")

Pools = dict[str, tuple[str, str]]
SECONDS = 15
"""What "within seconds" means on a busy machine: until a worker that was killed takes tasks again."""


# --- the verbs of C5 -----------------------------------------------------------------------------------------------
def test_every_pool_is_enabled_and_says_what_it_does(fleet: Fleet, owners: Pools) -> None:
    """C5: enable, status."""
    for name, pool in set(owners.values()):
        host, unit = fleet.host(name), units.worker(pool)
        assert host.check_output(f"systemctl is-enabled {unit}") == "enabled"
        status = host.run(f"systemctl status --no-pager {unit}")
        assert status.rc == 0
        assert "busy" in status.stdout
        assert "queues: " in status.stdout


def test_reload_lets_running_tasks_finish_and_starts_anew(fleet: Fleet, app: Application) -> None:
    """C5: reload."""
    host, unit = fleet.host("worker2"), units.worker("reports")
    before = units.main_pid(host, unit)
    task = app.send(SLEEP, "reports", seconds=3)
    task.until("STARTED")
    host.check_output(f"systemctl reload {unit}")
    assert task.result()["seconds"] >= 3
    assert app.echo("reports").result()["pool"] == "reports"
    units.until_ready(host, unit)
    assert units.main_pid(host, unit) not in (0, before)
    assert units.show(host, unit, "Result")["Result"] == "success"


def test_disabled_and_enabled_again(fleet: Fleet) -> None:
    """C5: enable."""
    host, unit = fleet.host("worker2"), units.worker("reports")
    link = f"/etc/systemd/system/celery-worker.target.wants/{unit}"
    host.check_output(f"systemctl disable {unit}")
    assert not host.file(link).exists
    host.check_output(f"systemctl enable {unit}")
    assert host.file(link).is_symlink


def test_the_target_stops_and_starts_all_pools_of_a_host(
    fleet: Fleet, owners: Pools, app: Application
) -> None:
    """C5: start, stop."""
    host = fleet.host("worker2")
    queues = {queue: pool for queue, (name, pool) in owners.items() if name == "worker2"}
    host.check_output("systemctl stop celery-worker.target")
    eventually(  # the target itself has stopped at once
        lambda: {units.main_pid(host, units.worker(pool)) for pool in queues.values()} == {0},
        "all have stopped",
    )
    waiting = app.echoes(queues)
    assert {task.state for task in waiting.values()} == {"PENDING"}
    host.check_output("systemctl start celery-worker.target")
    assert {queue: task.result()["pool"] for queue, task in waiting.items()} == queues


@pytest.mark.parametrize("what", ["ping", "active", "registered", "stats", "active_queues"])
def test_every_pool_answers_inspect(what: str, fleet: Fleet, owners: Pools) -> None:
    """F8: the operator's command, on any host with the app."""
    nodes = {f"{pool}@{host}" for host, pool in owners.values()}
    asked = f"fleet-celery inspect {what} --json --timeout 2"
    answers = eventually(
        lambda: json.loads(fleet.host("monitor1").run(asked).stdout or "{}"),
        f"all of {nodes} answer",
        until=lambda found: found.keys() == nodes,
    )
    if what == "registered":
        assert all("taskapp.diagnostics.echo" in tasks for tasks in answers.values())
    if what == "active_queues":
        consumed = {(queue["name"], node) for node, queues in answers.items() for queue in queues}
        assert consumed == {(queue, f"{pool}@{host}") for queue, (host, pool) in owners.items()}


# --- lost processes ------------------------------------------------------------------------------------------------
def test_a_killed_worker_is_back_within_seconds(fleet: Fleet, app: Application) -> None:
    """C5: restarts always."""
    host, unit = fleet.host("worker2"), units.worker("reports")
    others = units.main_pids(fleet)
    killed = others.pop(("worker2", unit))
    host.check_output(f"kill -9 {killed}")
    began = time.monotonic()
    eventually(
        lambda: units.main_pid(host, unit) not in (0, killed) and units.ready(host, unit),
        "the worker runs again and is ready",
    )
    assert time.monotonic() - began < SECONDS
    assert app.echo("reports").result()["pool"] == "reports"
    after = units.main_pids(fleet)
    del after["worker2", unit]
    assert units.replaced(others, after) == set()


# --- stops ---------------------------------------------------------------------------------------------------------
def test_a_pool_that_finishes_stops_after_its_task(fleet: Fleet, app: Application) -> None:
    """stop_policy: finish"""
    host, unit = fleet.host("worker2"), units.worker("reports")
    task = app.send(SLEEP, "reports", seconds=5)
    task.until("STARTED")
    host.check_output(f"systemctl stop {unit}")
    assert task.state == "SUCCESS"
    assert task.result()["seconds"] >= 5
    assert units.show(host, unit, "Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
    host.check_output(f"systemctl start {unit}")
    units.until_ready(host, unit)


# --- the end of what test_memory.py began, late because its retries wait minutes -----------------------------------
def test_a_task_that_keeps_killing_its_process_fails_in_the_end(overrun: Overrun, fleet: Fleet) -> None:
    """F7: it is accounted for, after a bounded number of tries."""
    assert overrun.task.until("SUCCESS", "FAILURE", patience=400) == "FAILURE"
    assert type(overrun.task.outcome).__name__ == "WorkerLostError"
    told = overrun.told(fleet)
    assert 2 <= sum("Task started" in line for line in told) <= 5, told
    assert sum("Task failed" in line for line in told) == 1, told
