"""What stock Celery does with the messages of a worker that dies."""

from contract.laboratory import Laboratory, alive, experiment

SWEEPING = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}


@experiment
def killed_between_pop_and_record(lab: Laboratory):
    worker = lab.worker(environment={"CONTRACT_DIE_ON_APPEND": "1"})
    lab.send("quick", "lost", task_id="lost-message")
    lab.wait_exit(worker)
    return lab.everything()


def test_a_worker_that_dies_between_pop_and_record_loses_the_message(killed_between_pop_and_record):
    """Stock kombu pops a message and records it in two steps: between them it is nowhere in Redis.

    Ended by delivery.transport, whose claim does both in one.
    """
    assert "_kombu.binding.celery" in killed_between_pop_and_record
    assert "lost-message" not in killed_between_pop_and_record


@experiment
def killed_while_a_task_ran(lab: Laboratory):
    worker = lab.worker()
    task = lab.send("hold", "held")
    child = lab.wait_start("held")["pid"]
    worker.kill()
    lab.eventually(lambda: not alive(child), "the child's end")
    held = lab.unacknowledged()
    lab.worker(concurrency=2, settings={"broker_transport_options": SWEEPING})
    lab.send("quick", "probe")
    lab.wait_end("probe")
    not_redelivered = lab.never(lambda: lab.starts("held") > 1, 2.5)
    return {"task": task, "held": held, "not redelivered": not_redelivered, "after": lab.unacknowledged()}


def test_the_task_of_a_killed_worker_stays_unacknowledged(killed_while_a_task_ran):
    """After `kill -9` of main the message is in `unacked`, where delivery.restore finds it."""
    assert killed_while_a_task_ran["held"] == [killed_while_a_task_ran["task"]]


def test_the_task_of_a_killed_worker_is_not_redelivered_at_the_restart(killed_while_a_task_ran):
    """A stock worker that starts again leaves it there until the visibility timeout. Ended by delivery.ownership."""
    assert killed_while_a_task_ran["not redelivered"]
    assert killed_while_a_task_ran["after"] == [killed_while_a_task_ran["task"]]


def test_the_children_of_a_killed_main_process_die(killed_while_a_task_ran):
    """Prefork children have PR_SET_PDEATHSIG: no task goes on while delivery.ownership gives it to another."""
    assert killed_while_a_task_ran["held"]


@experiment
def pools_of_different_visibility_timeouts(lab: Laboratory):
    lab.worker(concurrency=2, wait=False)
    lab.worker(
        queues="other",
        settings={"broker_transport_options": {"visibility_timeout": 1, **SWEEPING}},
        wait=False,
    )
    for worker in lab.workers:
        lab.wait_ready(worker)
    lab.send("hold", "held")
    lab.wait_start("held", times=2)
    ends = lab.ends("held")
    lab.release("held")
    lab.wait_end("held", times=2)
    return ends


def test_the_shortest_visibility_timeout_of_all_pools_counts(pools_of_different_visibility_timeouts):
    """With the shared key `unacked`, a pool of another queue redelivers a task that still runs.

    Ended by delivery.transport: keys of its own for each node, which nobody sweeps.
    """
    assert pools_of_different_visibility_timeouts == 0


@experiment
def eta_beyond_the_visibility_timeout(lab: Laboratory):
    lab.worker(settings={"broker_transport_options": {"visibility_timeout": 1, **SWEEPING}})
    lab.send("quick", "later", countdown=6)
    lab.wait_end("later", times=2)
    return lab.starts("later")


def test_an_eta_beyond_the_visibility_timeout_runs_several_times(eta_beyond_the_visibility_timeout):
    """Stock workers redeliver what other workers, or they themselves, hold until its time has come.

    Ended by delivery.transport (keys of the node) and delivery.parking (long waits are not held at all).
    """
    assert eta_beyond_the_visibility_timeout > 1
