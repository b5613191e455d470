"""What stock workers do when their connection to Redis goes."""

import pytest

from contract.laboratory import Laboratory, experiment


def cut_off(lab: Laboratory, pool: str = "prefork", **settings: bool) -> dict[str, int]:
    """Drops all connections while "held" runs, and lets it end when its message is back."""
    worker = lab.worker(pool=pool, settings={"worker_lost_wait": 1, **settings})
    task = lab.send("hold", "held")
    lab.wait_start("held")
    for each in lab.redis.client_list():
        if each["id"] != str(lab.redis.client_id()):
            lab.redis.client_kill_filter(_id=each["id"])
    lab.eventually(
        lambda: worker.output.count("Connected to redis") > 1 and task in lab.unacknowledged(),
        "the redelivery",
    )
    lab.release("held")
    lab.send("quick", "after")
    lab.wait_end("after")
    lab.eventually(lambda: not lab.unacknowledged() and not lab.queued(), "the end of all")
    return {"starts": lab.starts("held"), "ends": lab.ends("held")}


@experiment
def cut_off_by_default(lab: Laboratory):
    return cut_off(lab)


@experiment
def cut_off_deduplicating(lab: Laboratory):
    return cut_off(lab, worker_deduplicate_successful_tasks=True)


@experiment
def cut_off_cancelling(lab: Laboratory):
    return cut_off(lab, worker_cancel_long_running_tasks_on_connection_loss=True)


@pytest.mark.parametrize(
    ("found", "starts", "ends"),
    [
        ("cut_off_by_default", 2, 2),
        ("cut_off_deduplicating", 1, 1),
        ("cut_off_cancelling", 2, 1),
    ],
    indirect=["found"],
)
def test_a_lost_connection_redelivers_what_runs(found, starts, ends):
    """It runs twice by default; once with deduplication; cut short and run again with cancelling.

    policy.connection deduplicates, install cancels where the pool says so; delivery.running gives no second copy.
    """
    assert found == {"starts": starts, "ends": ends}


@experiment
def threads_cut_off_cancelling(lab: Laboratory):
    return cut_off(lab, "threads", worker_cancel_long_running_tasks_on_connection_loss=True)


def test_threads_cannot_cancel_what_runs(threads_cut_off_cancelling):
    """There it runs twice nevertheless: a pool of threads must go on with its tasks, as delivery.running has it."""
    assert threads_cut_off_cancelling == {"starts": 2, "ends": 2}


@experiment
def busy_gevent_always_retrying(lab: Laboratory):
    """A task is published after Redis restarted, while which the only task of a full pool ended."""
    worker = lab.worker(pool="gevent", settings={"result_backend_always_retry": True})
    lab.send("hold", "held")
    lab.wait_start("held")
    lab.server.stop()
    lab.release("held")
    lab.wait_end("held")
    lab.eventually(lambda: "Connection refused" in worker.output, "the failure to store the result")
    lab.server.start()
    lab.send("quick", "after")
    lab.wait_end("after")
    return True


def test_a_busy_gevent_worker_is_back_when_results_are_retried(busy_gevent_always_retrying):
    """policy.connection sets `result_backend_always_retry`.

    By default the greenlet that cannot store its result dies with its request: nobody acknowledges, its credit is gone,
    and mostly the worker consumes nothing any more. Not each time, so that is no fact to pin.
    """
    assert busy_gevent_always_retrying
