"""F7: what a worker held when it died runs again within seconds; what nobody can run is kept, and told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

from acceptance import units
from acceptance.application import FAIL, SLEEP, Application, Task
from acceptance.waiting import eventually
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")

HOST, POOL, QUEUE = "worker2", "reports", "reports"
UNIT = units.worker(POOL)
SECONDS = 5.0
"""From the death of a worker to the second start of its task. The clock is that of its host's journal."""


def starts(host: Host, task: Task) -> list[float]:
    """When the task was started, in seconds since the epoch."""
    told = units.journal(host, f"TASK_ID={task.id}")
    return [int(line["__REALTIME_TIMESTAMP"]) / 1e6 for line in told if "Task started" in line["MESSAGE"]]


@pytest.mark.parametrize("whom", ["main", "all"])
def test_the_task_of_a_killed_worker_runs_again_at_once(whom: str, fleet: Fleet, app: Application) -> None:
    """F7: SIGKILL to the main process alone, and to the whole control group."""
    host = fleet.host(HOST)
    task = app.send(SLEEP, QUEUE, seconds=6)
    task.until("STARTED")
    waiting = app.echo(QUEUE)
    killed = float(units.now(host)[1:])
    host.check_output(f"systemctl kill --signal=KILL --kill-who={whom} {UNIT}")
    times = eventually(lambda: starts(host, task), "it starts a second time", until=lambda t: len(t) == 2)
    assert times[1] - killed < SECONDS
    assert task.result()["seconds"] >= 6
    assert waiting.result()["pool"] == POOL
    assert len(starts(host, task)) == 2


def test_a_stopped_main_process_is_replaced_by_the_watchdog(fleet: Fleet, app: Application) -> None:
    """F7: it is alive and does nothing, until systemd has had enough; its task runs again."""
    host = fleet.host(HOST)
    before = units.main_pid(host, UNIT)
    task = app.send(SLEEP, QUEUE, seconds=2)
    task.until("STARTED")
    host.check_output(f"systemctl kill --signal=STOP --kill-who=main {UNIT}")
    try:
        eventually(
            lambda: units.main_pid(host, UNIT) not in (0, before) and units.ready(host, UNIT),
            "another process runs, and is ready",
            patience=120,
        )
    finally:
        host.run(f"kill -CONT {before}")  # it is gone, unless the test failed
    assert task.result()["seconds"] >= 2


def fleet_json(host: Host, *words: str) -> Any:
    """What the `fleet` command answers on a host."""
    return json.loads(host.check_output(f"fleet {' '.join(words)} --json"))


def test_a_failed_task_is_a_dead_letter_that_can_be_tried_again(fleet: Fleet, app: Application) -> None:
    """D1: what has failed for good is kept with all that it takes to try it again."""
    host = fleet.host(HOST)
    task = app.send(FAIL, QUEUE, message="for the dead letters")
    task.until("FAILURE")
    letter = fleet_json(host, "dlq", "show", task.id)
    assert letter["task_id"] == task.id
    assert letter["kwargs"] == {"message": "for the dead letters"}
    assert "for the dead letters" in letter["error"]
    host.check_output(f"fleet dlq retry --yes {task.id}")
    again = fleet_json(host, "dlq", "show", task.id)["retried_as"]
    assert again not in (None, task.id)
    Task(again, app).until("FAILURE")
    host.check_output(f"fleet dlq delete --yes {task.id} {again}")
    assert host.run(f"fleet dlq show {task.id}").rc == 1


def test_a_cancelled_task_stays_cancelled_when_its_worker_was_away(fleet: Fleet, app: Application) -> None:
    host = fleet.host(HOST)
    host.check_output(f"systemctl stop {UNIT}")
    task, other = app.echo(QUEUE), app.echo(QUEUE)
    host.check_output(f"fleet cancel {task.id}")
    host.check_output(f"systemctl start {UNIT}")
    assert other.result()["pool"] == POOL
    assert task.until("REVOKED") == "REVOKED"
    assert starts(host, task) == []


@pytest.mark.parametrize(
    "verb", ["status", "queues", "pools", "workers", "tasks", "dlq list", "topology show"]
)
def test_the_operators_command(verb: str, fleet: Fleet) -> None:
    """F8: on every host with the app; for people and for programs."""
    for name in {*fleet.groups["workers"], *fleet.groups["beat"]}:
        host = fleet.host(name)
        assert host.check_output(f"fleet {verb}")
        assert fleet_json(host, *verb.split()) is not None
