"""What signals do to a stock worker that runs a task, has fetched another, and holds one for later."""

import os
import re
import signal
import time
from typing import Any

import pytest

from contract.laboratory import Laboratory, Worker, experiment

GROUP = "group"


def stop_busy(
    lab: Laboratory,
    number: int,
    *,
    to: str = "main",
    task: str = "hold",
    pool: str = "prefork",
    then: int | None = None,
    release: bool = False,
) -> dict[str, Any]:
    """Signals a worker of one process that runs "held", with "fetched", "queued" and "later" behind it."""
    worker = lab.worker(
        "--loglevel=debug", pool=pool, settings={"worker_prefetch_multiplier": 2, "worker_lost_wait": 1}
    )
    ids = {"later": lab.send("quick", "later", countdown=300)}
    lab.eventually(lambda: ids["later"] in lab.unacknowledged(), "the receipt of the task for later")
    ids["held"] = lab.send(task, "held")
    lab.wait_start("held")
    for label in ("fetched", "queued"):
        ids[label] = lab.send("quick", label)
    lab.eventually(lambda: ids["fetched"] in lab.unacknowledged(), "the prefetch")
    (os.killpg if to == GROUP else os.kill)(worker.pid, number)
    stopping(lab, worker)
    if release:
        lab.release("held")
    if then:
        lab.eventually(lambda: "Worker: Stopping Pool" in worker.output, "the end of the main loop")
        os.kill(worker.pid, then)
    code = lab.wait_exit(worker)
    names = {task_id: label for label, task_id in ids.items()}
    return {
        "exit": code,
        "queue": [names[task_id] for task_id in lab.queued()],
        "unacknowledged": [names[task_id] for task_id in lab.unacknowledged()],
        "starts": lab.starts("held"),
        "ends": lab.ends("held"),
        "state": lab.state(ids["held"]),
        "result": repr(lab.result(ids["held"])),
        "steps": re.findall(r"\| (\w+: (?:Stopping|Shutdown) [\w ]+)", worker.output),
        "others ran": bool(lab.events("start", "fetched") or lab.events("start", "queued")),
    }


def stopping(lab: Laboratory, worker: Worker) -> None:
    lab.eventually(
        lambda: "shutdown" in worker.output.lower() or worker.process.poll() is not None,
        "the start of the stop",
    )


@experiment
def terminated(lab: Laboratory):
    return stop_busy(lab, signal.SIGTERM, release=True)


@experiment
def interrupted(lab: Laboratory):
    return stop_busy(lab, signal.SIGINT, release=True)


@pytest.mark.parametrize(("found", "code"), [("terminated", 0), ("interrupted", 1)], indirect=["found"])
def test_a_warm_stop_finishes_the_running_task_and_returns_the_others(found, code):
    """TERM and INT let the running task end; what was fetched and what waits for its time goes back.

    The stop policy `finish` of the units relies on it.
    """
    assert (found["ends"], found["state"]) == (1, "SUCCESS")
    assert sorted(found["queue"]) == ["fetched", "later", "queued"]
    assert found["unacknowledged"] == []
    assert not found["others ran"]
    assert found["exit"] == code


def test_the_connection_is_closed_when_the_pool_has_stopped(terminated):
    """Closing it returns what is held: the steps of the consumer are shut down last, that of the connection after all.

    delivery.ownership relies on it.
    """
    order = ["Consumer: Stopping event loop", "Worker: Stopping Pool", "Consumer: Shutdown Connection"]
    places = [terminated["steps"].index(step) for step in order]
    assert places == sorted(places)
    assert terminated["steps"][-1] == "Consumer: Shutdown Connection"


@experiment
def quit_late(lab: Laboratory):
    return stop_busy(lab, signal.SIGQUIT)


def test_a_cold_stop_returns_late_acknowledged_tasks(quit_late):
    """QUIT kills the running task and puts it back. service.stop relies on it for prefork."""
    assert quit_late["ends"] == 0
    assert sorted(quit_late["queue"]) == ["fetched", "held", "later", "queued"]
    assert quit_late["unacknowledged"] == []


@experiment
def quit_early(lab: Laboratory):
    return stop_busy(lab, signal.SIGQUIT, task="hold_early")


def test_a_cold_stop_loses_early_acknowledged_tasks(quit_early):
    """Without late acknowledgement QUIT loses the task, whose state stays RETRY. install sets `task_acks_late`."""
    assert "held" not in quit_early["queue"] + quit_early["unacknowledged"]
    assert (quit_early["ends"], quit_early["state"]) == (0, "RETRY")


@experiment
def group_terminated(lab: Laboratory):
    return stop_busy(lab, signal.SIGTERM, to=GROUP)


def test_terminating_the_whole_group_loses_the_running_task(group_terminated):
    """TERM to the children, systemd's default, fails the running task for good, late acknowledgement or not.

    Ended by `KillMode=mixed` in the unit of the role celery_worker.
    """
    assert (group_terminated["starts"], group_terminated["ends"]) == (1, 0)
    assert "held" not in group_terminated["queue"] + group_terminated["unacknowledged"]
    assert group_terminated["state"] == "FAILURE"
    assert "WorkerLostError" in group_terminated["result"]


@experiment
def prefork_terminated_then_quit(lab: Laboratory):
    return stop_busy(lab, signal.SIGTERM, then=signal.SIGQUIT)


@experiment
def threads_terminated_then_quit(lab: Laboratory):
    return stop_busy(lab, signal.SIGTERM, then=signal.SIGQUIT, pool="threads")


@pytest.mark.parametrize(
    "found", ["prefork_terminated_then_quit", "threads_terminated_then_quit"], indirect=True
)
def test_quit_during_a_warm_stop_returns_the_running_task(found):
    """QUIT, once TERM has ended the main loop, ends the wait for the running task and puts it back.

    service.stop relies on it for prefork.
    """
    assert (found["starts"], found["ends"]) == (1, 0)
    assert "held" in found["queue"]
    assert found["unacknowledged"] == []


@experiment
def gevent_quit(lab: Laboratory):
    return stop_busy(lab, signal.SIGQUIT, pool="gevent")


def test_quit_loses_the_running_tasks_of_gevent(gevent_quit):
    """A greenlet that is killed counts as a success: its message is acknowledged, its state stays STARTED.

    Ended by service.stop, which puts the message back by itself.
    """
    assert (gevent_quit["starts"], gevent_quit["ends"], gevent_quit["state"]) == (1, 0, "STARTED")
    assert "held" not in gevent_quit["queue"] + gevent_quit["unacknowledged"]


@experiment
def solo_quit(lab: Laboratory):
    worker = lab.worker(pool="solo")
    task = lab.send("hold", "held")
    lab.wait_start("held")
    os.kill(worker.pid, signal.SIGQUIT)
    lab.wait_exit(worker)
    left = lab.queued() + lab.unacknowledged()
    return {"state": lab.state(task), "result": repr(lab.result(task)), "left": left}


def test_quit_fails_the_running_task_of_solo(solo_quit):
    """The handler of QUIT raises NotImplementedError inside the running task, which fails by it and is lost.

    Ended by service.stop, as with gevent.
    """
    assert (solo_quit["state"], solo_quit["left"]) == ("FAILURE", [])
    assert "kill_job" in solo_quit["result"]


@experiment
def threads_quit(lab: Laboratory):
    worker = lab.worker(pool="threads")
    lab.send("hold", "held")
    lab.wait_start("held")
    os.kill(worker.pid, signal.SIGQUIT)
    lab.eventually(lambda: "does not implement kill_job" in worker.output, "the failure of the cold stop")
    outlives = lab.never(lambda: worker.process.poll() is not None, 1.5)
    lab.release("held")
    return {"outlives": outlives, "exit": lab.wait_exit(worker), "ends": lab.ends("held")}


def test_quit_alone_does_not_stop_threads(threads_quit):
    """A cold stop from the main loop fails with threads, and the process lives until its tasks end.

    Ended by service.stop.
    """
    assert threads_quit == {"outlives": True, "exit": 1, "ends": 1}


@experiment
def stopped_softly(lab: Laboratory):
    worker = lab.worker(
        settings={"worker_soft_shutdown_timeout": 5}, environment={"REMAP_SIGTERM": "SIGQUIT"}
    )
    lab.send("hold", "held")
    lab.wait_start("held")
    worker.process.terminate()
    stopping(lab, worker)
    began = time.monotonic()
    lab.release("held")
    lab.wait_end("held")
    ended = time.monotonic() - began
    lab.wait_exit(worker)
    return {"task ended": ended, "worker ended": time.monotonic() - began}


def test_a_soft_stop_waits_its_whole_time_when_the_tasks_have_ended(stopped_softly):
    """`worker_soft_shutdown_timeout` is a sleep, not a limit: service.stop bounds a stop without it."""
    assert stopped_softly["task ended"] < 3
    assert stopped_softly["worker ended"] > 3


@experiment
def threads_stopped_softly(lab: Laboratory):
    worker = lab.worker(
        pool="threads",
        settings={"worker_soft_shutdown_timeout": 1},
        environment={"REMAP_SIGTERM": "SIGQUIT"},
    )
    lab.send("hold", "held")
    lab.wait_start("held")
    worker.process.terminate()
    stopping(lab, worker)
    outlives = lab.never(lambda: worker.process.poll() is not None, 3)
    lab.release("held")
    lab.wait_exit(worker)
    return {"outlives": outlives, "ends": lab.ends("held")}


def test_a_soft_stop_does_not_bound_the_tasks_of_threads(threads_stopped_softly):
    """A pool of threads outlives `worker_soft_shutdown_timeout`: it waits for its tasks."""
    assert threads_stopped_softly == {"outlives": True, "ends": 1}
