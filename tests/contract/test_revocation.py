"""What becomes of tasks that stock Celery is told to revoke."""

import signal

import pytest

from contract.laboratory import Laboratory, experiment


@experiment
def revoked_before_and_across_a_start(lab: Laboratory):
    unheard = lab.send("quick", "unheard")
    lab.app.control.revoke(unheard)
    worker = lab.worker()
    lab.wait_end("unheard")
    lab.send("hold", "blocker")
    lab.wait_start("blocker")
    forgotten = lab.send("quick", "forgotten")
    heard = lab.app.control.revoke(forgotten, reply=True, timeout=10, limit=1)
    said = lab.state(forgotten)
    worker.process.send_signal(signal.SIGTERM)
    lab.eventually(lambda: "Warm shutdown" in worker.output, "the start of the stop")
    lab.release("blocker")
    lab.wait_exit(worker)
    ran_before = lab.starts("forgotten")
    lab.worker()
    lab.wait_end("forgotten")
    return {
        "heard": bool(heard),
        "said": said,
        "ran before": ran_before,
        "state": lab.wait_state(forgotten, "SUCCESS"),
    }


def test_a_revocation_that_no_worker_hears_is_lost(revoked_before_and_across_a_start):
    """Revoking is a broadcast: a task revoked while no worker is online runs. Ended by delivery.cancellation."""
    assert revoked_before_and_across_a_start


def test_a_worker_forgets_revocations_when_it_stops(revoked_before_and_across_a_start):
    """A queued task that was revoked, and said to be, runs after a restart. Ended by delivery.cancellation."""
    assert revoked_before_and_across_a_start == {
        "heard": True,
        "said": "REVOKED",
        "ran before": 0,
        "state": "SUCCESS",
    }


def terminate(lab: Laboratory, pool: str) -> dict:
    lab.worker(pool=pool, settings={"worker_lost_wait": 1, "task_reject_on_worker_lost": True})
    task = lab.send("hold", "held")
    lab.wait_start("held")
    lab.eventually(lambda: lab.app.control.ping(timeout=1, limit=1), "the answer of a ready worker")
    [reply] = lab.app.control.revoke(task, terminate=True, reply=True, timeout=30, limit=1)
    lab.send("quick", "probe")
    if pool == "threads":
        lab.release("held")
    lab.wait_end("probe")
    lab.eventually(lambda: not lab.unacknowledged() and not lab.queued(), "the end of all")
    return {
        "reply": str(next(iter(reply.values()))),
        "state": lab.wait_state(task),
        "starts": lab.starts("held"),
        "ends": lab.ends("held"),
    }


@experiment
def terminated_in_prefork(lab: Laboratory):
    return terminate(lab, "prefork")


@experiment
def terminated_in_gevent(lab: Laboratory):
    return terminate(lab, "gevent")


@experiment
def terminated_in_threads(lab: Laboratory):
    return terminate(lab, "threads")


@pytest.mark.parametrize("found", ["terminated_in_prefork", "terminated_in_gevent"], indirect=True)
def test_a_terminated_task_is_not_requeued(found):
    """Terminating acknowledges the task even where lost workers' tasks go back. service.cancel relies on it."""
    assert "terminate" in found["reply"]
    assert (found["state"], found["starts"], found["ends"]) == ("REVOKED", 1, 0)


def test_threads_cannot_terminate(terminated_in_threads):
    """The reply is an error and the task goes on: threads need the cooperative check of service.cancel."""
    assert "does not implement kill_job" in terminated_in_threads["reply"]
    assert (terminated_in_threads["starts"], terminated_in_threads["ends"]) == (1, 1)


def test_a_task_whose_id_is_revoked_in_time_does_not_run(revoked_id):
    """What is in `celery.worker.state.revoked` when the task is received or begins ends as REVOKED, acknowledged.

    delivery.cancellation relies on it.
    """
    assert revoked_id == {"state": "REVOKED", "starts": 0, "left": []}


@experiment
def revoked_id(lab: Laboratory):
    lab.worker(environment={"CONTRACT_REVOKED": "revoked-id"})
    lab.send("quick", "revoked", task_id="revoked-id")
    state = lab.wait_state("revoked-id")
    lab.eventually(lambda: not lab.unacknowledged(), "the acknowledgement")
    return {"state": state, "starts": lab.starts("revoked"), "left": lab.queued()}
