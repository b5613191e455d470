"""Time limits, stop policies and the schedule: one fleet whose values are short enough to wait for.

Beat has moved to another host in it.
"""

from __future__ import annotations

import time

import pytest

from acceptance import units
from acceptance.application import ALLOCATE, SLEEP, Application
from acceptance.playbook import ALL, Playbooks, Run
from acceptance.waiting import eventually
from hosts import Fleet

HARD, SOFT, STOP = 4, 3, 3
GATHER = "automated_gather_creation"
TICK, PERIOD = "taskapp.jobs.process", 2
"""The task that nothing but Beat sends here, and how often (seconds)."""

OLD_BEAT, NEW_BEAT = "monitor1", "worker2"
BEAT = "celery-beat.service"

LONG = {"events": 100, "stations": 100, "samples": 2000}
"""A gather that takes much longer than its limit."""


@pytest.fixture(scope="module")
def short(playbooks: Playbooks, fleet: Fleet) -> Run:
    """The converge that brought the short values."""
    queues = playbooks.value(NEW_BEAT, "celery_queues")
    queues["reports"] = {"time_limit": HARD, "soft_time_limit": None, "retry": {"max_retries": 0}}
    routes = playbooks.value(NEW_BEAT, "celery_task_routes")
    gather = next(route for route in routes if route["task"] == GATHER)
    gather["soft_time_limit"] = SOFT
    routes.append({"task": ALLOCATE, "queue": "reports"})
    pools = playbooks.value("worker2", "celery_worker_pools")
    pools["background"]["stop_timeout"] = STOP
    schedule = {"tick": {"task": TICK, "schedule": PERIOD, "kwargs": {"data": "tick"}}}
    overrides = {
        ALL: {"celery_queues": queues, "celery_task_routes": routes, "celery_beat_schedule": schedule},
        "worker2": {"celery_worker_pools": pools},
    }
    run = playbooks.converged_to(overrides, groups={"beat": [NEW_BEAT]})
    assert run, "nothing else needs this fleet"
    return run


# --- time limits ---------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("short")
def test_a_task_beyond_its_soft_limit_is_told_and_can_handle_it(app: Application, fleet: Fleet) -> None:
    """C2"""
    task = app.send(GATHER, **LONG, seed=time.time_ns() % 2**31)
    task.until("RETRY", "FAILURE")
    assert type(task.outcome).__name__ == "SoftTimeLimitExceeded"
    lines = units.journal(fleet.host("worker1"), f"TASK_ID={task.id}")
    assert any("Soft time limit: partial output of" in line["MESSAGE"] for line in lines), lines
    assert [line["EXCEPTION"] for line in lines if "Task retry" in line["MESSAGE"]] == [
        "SoftTimeLimitExceeded"
    ]
    app.revoke(task)


@pytest.mark.usefixtures("short")
def test_a_task_beyond_its_hard_limit_is_killed_and_the_pool_lives(app: Application, fleet: Fleet) -> None:
    """C2: the limit that the queue gives, to a task that is never told."""
    host, unit = fleet.host("worker2"), units.worker("reports")
    before = units.main_pid(host, unit)
    task = app.send(ALLOCATE, megabytes=1, seconds=60)
    task.until("STARTED")
    began = time.monotonic()
    assert task.until("SUCCESS", "FAILURE", "RETRY") == "FAILURE"
    assert time.monotonic() - began < HARD + 5
    assert type(task.outcome).__name__ == "TimeLimitExceeded"
    assert units.main_pid(host, unit) == before
    assert app.echo("reports").result()["pool"] == "reports"


# --- stop policy: requeue (finish: see test_services.py) ------------------------------------------------------------
@pytest.mark.usefixtures("short")
def test_a_pool_that_requeues_gives_a_long_task_back(app: Application, fleet: Fleet) -> None:
    host, unit = fleet.host("worker2"), units.worker("background")
    task = app.send(SLEEP, "analytics", seconds=STOP + 6)
    task.until("STARTED")
    began = time.monotonic()
    host.check_output(f"systemctl stop {unit}")
    assert STOP <= time.monotonic() - began < STOP + 6, "longer than its stop_timeout, shorter than the task"
    assert app.waiting("analytics") == 1
    assert task.state != "FAILURE"
    host.check_output(f"systemctl start {unit}")
    assert task.result()["seconds"] >= STOP + 6
    told = [line["MESSAGE"] for line in units.journal(host, f"TASK_ID={task.id}")]
    assert sum("Task started" in line for line in told) == 2, told
    assert sum("Task completed" in line for line in told) == 1, told


# --- Beat ----------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("short")
def test_a_beat_that_moved_leaves_no_trace_where_it_was(fleet: Fleet) -> None:
    old = fleet.host(OLD_BEAT)
    found = old.check_output(
        f"systemctl list-units --all --plain --no-legend {BEAT}; systemctl list-unit-files --no-legend {BEAT};"
        # pgrep fails when it finds nothing, which is what the test hopes for
        " find /etc -name 'celery-beat*';"
        " pgrep --uid celery-beat --list-full --full -- 'celery_fleet.app beat' || true"
    )
    assert found == ""
    assert units.ready(fleet.host(NEW_BEAT), BEAT)


@pytest.mark.usefixtures("short")
def test_two_beats_never_run(fleet: Fleet) -> None:
    """Not even while it moves: the old one has stopped before the new one is started."""
    stops = units.journal(fleet.host(OLD_BEAT), f"UNIT={BEAT}", "JOB_TYPE=stop", "JOB_RESULT=done")
    starts = units.journal(fleet.host(NEW_BEAT), f"UNIT={BEAT}", "JOB_TYPE=start")
    stopped, *_ = [int(line["__REALTIME_TIMESTAMP"]) for line in reversed(stops)]
    starting, *_ = [
        int(line["__REALTIME_TIMESTAMP"]) for line in reversed(starts) if "JOB_RESULT" not in line
    ]
    assert stopped < starting, f"{(stopped - starting) / 1e6:.1f} s of two Beats"


@pytest.mark.usefixtures("short")
def test_periodic_tasks_arrive_once_each_period(fleet: Fleet) -> None:
    """A3: what Beat sends is run."""
    host = fleet.host("worker1")
    since = units.now(host)

    def ticks() -> list[float]:
        lines = units.journal(host, f"TASK_NAME={TICK}", f"--since={since}")
        return [
            int(line["__REALTIME_TIMESTAMP"]) / 1e6 for line in lines if "Task started" in line["MESSAGE"]
        ]

    found = eventually(ticks, "four ticks have arrived", until=lambda found: len(found) >= 4)
    took = found[-1] - found[0]
    assert took > (len(found) - 1) * PERIOD * 0.7, f"{len(found)} ticks within {took:.1f} s: too many"
