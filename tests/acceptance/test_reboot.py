"""Hosts go down and come up again; the fleet comes back by itself, and no task is lost."""

from __future__ import annotations

import subprocess
import time

import pytest

from acceptance import units
from acceptance.application import SLEEP, Application
from acceptance.playbook import ROOT
from acceptance.waiting import eventually
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")

BOOT = 120
"""Seconds until a host has booted and its services are ready, on a busy machine."""

REDIS, DOWN = "redis1", "worker1"


def power(fleet: Fleet, action: str, *names: str) -> None:
    """An orderly stop, or a boot, of hosts."""
    containers = [f"{fleet.variables(name)['testbed_name']}-{name}" for name in names]
    options = ["--time", "60"] if action == "stop" else []
    command = [ROOT / "scripts" / "podman", action, *options, *containers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def answers(fleet: Fleet, name: str) -> bool:
    try:
        return fleet.host(name).run("true").rc == 0
    except RuntimeError:  # ssh could not connect
        return False


def test_a_worker_host_and_redis_restart_and_waiting_tasks_run(
    fleet: Fleet, app: Application, owners: dict[str, tuple[str, str]]
) -> None:
    """C5, D9: what waits in Redis survives its restart; workers that find no Redis wait for it; nobody helps them."""
    pools = {pool for host, pool in owners.values() if host == DOWN}
    mine = [queue for queue, (host, _) in owners.items() if host == DOWN]
    others = {key: pid for key, pid in units.main_pids(fleet).items() if key[0] not in (REDIS, DOWN)}
    running = app.send(SLEEP, "default", seconds=4)
    running.until("STARTED")

    power(fleet, "stop", DOWN)
    waiting = {queue: [app.echo(queue) for _ in range(3)] for queue in mine}
    assert {queue: app.waiting(queue) for queue in mine} == dict.fromkeys(mine, 3)
    power(fleet, "stop", REDIS)

    power(fleet, "start", DOWN)
    eventually(lambda: answers(fleet, DOWN), f"{DOWN} answers", BOOT)
    host = fleet.host(DOWN)
    for pool in pools:
        eventually(
            lambda pool=pool: units.show(host, units.worker(pool), "ActiveState", "StatusText"),  # type: ignore[misc]
            f"the pool {pool} waits for Redis",
            BOOT,
            until=lambda shown: (
                shown["ActiveState"] == "activating" and "waiting for the broker" in shown["StatusText"]
            ),
        )
    restarts = {pool: units.show(host, units.worker(pool), "NRestarts") for pool in pools}

    power(fleet, "start", REDIS)
    began = time.monotonic()
    eventually(lambda: answers(fleet, REDIS), f"{REDIS} answers", BOOT)
    for pool in pools:
        units.until_ready(host, units.worker(pool), BOOT)
    assert {task.result(BOOT)["worker"].split("@")[1] for tasks in waiting.values() for task in tasks} == {
        DOWN
    }
    assert running.result()["seconds"] >= 4
    assert {pool: units.show(host, units.worker(pool), "NRestarts") for pool in pools} == restarts
    print(f"all tasks done {time.monotonic() - began:.0f} s after the start of {REDIS}")

    # The workers elsewhere have outlived it, and work.
    elsewhere = app.echoes(queue for queue in owners if queue not in mine)
    assert {queue: task.result(BOOT)["pool"] for queue, task in elsewhere.items()} == {
        queue: owners[queue][1] for queue in elsewhere
    }
    now = {key: pid for key, pid in units.main_pids(fleet).items() if key[0] not in (REDIS, DOWN)}
    assert units.replaced(others, now) == set()
    for name in (REDIS, DOWN):
        state = eventually(
            lambda name=name: fleet.host(name).run("systemctl is-system-running").stdout.strip(),  # type: ignore[misc]
            f"{name} has booted",
            until=lambda state: state != "starting",
        )
        assert state == "running", fleet.host(name).check_output("systemctl list-units --failed --no-pager")
