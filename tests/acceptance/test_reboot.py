"""Hosts go down and come up again; the fleet comes back by itself, and no task is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

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


class Power:
    """Orderly stops, and boots, of hosts."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.off: set[str] = set()

    def stop(self, name: str) -> None:
        self.off.add(name)
        self._podman("stop", "--time", "60", self._container(name))

    def start(self, name: str) -> None:
        self._podman("start", self._container(name))
        self.off.discard(name)
        eventually(lambda: self._answers(name), f"{name} answers", BOOT)

    def _container(self, name: str) -> str:
        return f"{self.fleet.variables(name)['testbed_name']}-{name}"

    def _podman(self, *arguments: str) -> None:
        done = subprocess.run(
            [ROOT / "scripts" / "podman", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def _answers(self, name: str) -> bool:
        try:
            return self.fleet.host(name).run("true").rc == 0
        except RuntimeError:  # ssh could not connect
            return False


@pytest.fixture
def power(fleet: Fleet) -> Iterator[Power]:
    """The power switches. No host stays off, however the test ends."""
    switches = Power(fleet)
    yield switches
    for name in list(switches.off):
        switches.start(name)


def test_a_worker_host_and_redis_restart_and_waiting_tasks_run(
    fleet: Fleet, app: Application, owners: dict[str, tuple[str, str]], power: Power
) -> None:
    """C5, D9: what waits in Redis survives its restart; workers that find no Redis wait for it; nobody helps them."""
    pools = {pool for host, pool in owners.values() if host == DOWN}
    mine = [queue for queue, (host, _) in owners.items() if host == DOWN]
    others = {key: pid for key, pid in units.main_pids(fleet).items() if key[0] not in (REDIS, DOWN)}
    running = app.send(SLEEP, "default", seconds=4)
    running.until("STARTED")

    power.stop(DOWN)
    length = {queue: app.waiting(queue) for queue in mine}
    waiting = {queue: [app.echo(queue) for _ in range(3)] for queue in mine}
    assert {queue: app.waiting(queue) for queue in mine} == {
        queue: number + 3 for queue, number in length.items()
    }
    power.stop(REDIS)

    power.start(DOWN)
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

    power.start(REDIS)
    for pool in pools:
        units.until_ready(host, units.worker(pool), BOOT)
    assert {task.result(BOOT)["worker"].split("@")[1] for tasks in waiting.values() for task in tasks} == {
        DOWN
    }
    assert running.result()["seconds"] >= 4
    assert {pool: units.show(host, units.worker(pool), "NRestarts") for pool in pools} == restarts

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
