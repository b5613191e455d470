"""Failed tasks are tried again after the delays of their policy, where it says, and then are dead letters.

C3, D1, P4, P5, and F7 for tasks that kill their processes.
"""

import pytest
from celery.exceptions import WorkerLostError

from celery_fleet.policy.priority import broker_priority
from integration.policy.conftest import dead_letters
from integration.support import eventually

POLICY = {"delay": 1, "backoff": 2, "max_retries": 3, "jitter": False}


def close_to(delays, expected):
    """Whether what was measured is what was wanted, on a machine that is busy with other things."""
    return len(delays) == len(expected) and all(
        wanted - 0.1 <= delay <= wanted + 2 for delay, wanted in zip(delays, expected, strict=True)
    )


def test_c3_three_retries_and_then_a_final_failure(environment, producer, services, record, redis_server):
    settings = environment(celery_retry=POLICY | {"jitter": True})
    worker = services.worker(settings, concurrency=2).wait_ready()
    tasks = producer(settings)
    failed, own = tasks.refused.delay(), tasks.again.delay()
    with pytest.raises(ConnectionError):
        failed.get(timeout=60)
    with pytest.raises(KeyError):
        own.get(timeout=60)
    for task in ("refused", "again"):  # 60, 120 and 240 s, less up to a quarter, scaled down
        for delay, wanted in zip(record.delays(task), (1, 2, 4), strict=True):
            assert 0.75 * wanted - 0.1 <= delay <= wanted + 2
    for attempt in (1, 2, 3):
        worker.wait_log(f"WARNING: Task retry scheduled task_id={failed.id} reason=refused attempt={attempt}")
    for result, exception in ((failed, "ConnectionError"), (own, "KeyError")):
        letter = eventually(lambda result=result: dead_letters(redis_server).get(result.id))
        assert (letter.reason, letter.exception, letter.attempts) == ("exhausted", exception, 4)


def test_d1_the_variables_of_the_environment_set_delays_and_retries(
    environment, producer, services, record, redis_server
):
    settings = environment(celery_retry={"jitter": False, "delay": 300, "max_retries": 9})
    variables = {
        "MAX_RETRIES": "2",
        "INITIAL_RETRY_DELAY": "1",
        "RETRY_BACKOFF_MULTIPLIER": "3",
        "MAX_RETRY_DELAY": "2",
    }
    services.worker({**settings, **variables}).wait_ready()
    result = producer(settings).refused.delay()
    with pytest.raises(ConnectionError):
        result.get(timeout=60)
    assert close_to(record.delays("refused"), [1, 2])
    letter = eventually(lambda: dead_letters(redis_server).get(result.id))
    assert (letter.reason, letter.attempts) == ("exhausted", 3)


def test_d1_values_that_cannot_be_used_end_the_service_in_one_line(environment, services):
    service = services.worker({**environment(), "MAX_RETRIES": "many"})
    assert service.process.wait(60) == 1
    assert service.output.strip() == (
        "celery-fleet: MAX_RETRIES: 'many' is not a number of retries from 0 to 1000000 or forever. "
        "Remedy: give a whole number from 0 to 1000000, or forever."
    )


def test_settings_that_celery_would_ignore_end_the_service_in_one_line(environment, services):
    service = services.worker({**environment(), "CELERY_FLEET_APP": "wrongapp:app"})
    assert service.process.wait(60) == 1
    (line,) = service.output.strip().splitlines()
    assert "task_max_retries is no setting of Celery" in line
    assert "task_time_limits is no setting of Celery" in line


def test_p5_every_kind_of_retry_goes_to_the_queue_of_the_switch(environment, producer, services, record):
    """Two pools: one for new tasks, one for those that are tried again. Priority and limits stay the task's own."""
    settings = environment(
        celery_queues={"celery": {"priority": 8}, "promgen_dlq": {"priority": 1, "time_limit": 300}},
        celery_retry=POLICY | {"delay": 0, "queue": "promgen_dlq"},
        celery_time_limit=5,
        celery_soft_time_limit=None,
        celery_task_routes=[
            {"task": "policyapp.stubborn", "queue": "celery", "time_limit": 1},
            {"task": "policyapp.slow", "queue": "celery", "time_limit": 60, "soft_time_limit": 1},
        ],
    )
    services.worker(settings, concurrency=2).wait_ready()
    retrying = {**settings, "CELERY_FLEET_QUEUES": "promgen_dlq", "CELERY_FLEET_POOL": "retries"}
    services.worker(retrying, "-n", "retries@%h", concurrency=2).wait_ready()
    tasks = producer(settings)
    names = ("refused", "again", "slow", "stubborn", "dies")
    results = {name: getattr(tasks, name).delay(3) for name in names}
    for name, result in results.items():
        assert result.get(timeout=60) == "done", name
    for name in names:
        lines = record.lines(name)
        assert [line["queue"] for line in lines] == ["celery", "promgen_dlq", "promgen_dlq"], name
        assert [line["worker"].partition("@")[0] for line in lines] == ["default", "retries", "retries"], name
        assert {line["priority"] for line in lines} == {broker_priority(8)}, name
    # Killed after its own second, not after the 300 s of the queue.
    assert record.delays("stubborn")[-1] < 30


def test_f7_a_task_that_kills_its_process_is_given_up_after_a_few_deliveries(
    environment, producer, services, record, redis_server
):
    """They are no retries, of which this policy has none: what dies of something else is run again all the same."""
    settings = environment(celery_retry=POLICY | {"max_retries": 0}, celery_max_deliveries=2)
    worker = services.worker(settings).wait_ready()
    tasks = producer(settings)
    result = tasks.dies.delay()
    with pytest.raises(WorkerLostError):
        result.get(timeout=60)
    assert len(record.lines("dies")) == 2
    assert record.delays("dies")[0] >= 0.9
    letter = eventually(lambda: dead_letters(redis_server).get(result.id))
    assert (letter.reason, letter.losses) == ("poison", 2)
    worker.wait_log(f"ERROR: Task failed task_id={result.id} exception=WorkerLostError")
    assert tasks.dies.delay(2).get(timeout=60) == "done"


def test_p4_long_waits_are_not_in_the_memory_of_a_worker(
    environment, producer, services, record, redis_server
):
    settings = environment(celery_retry=POLICY | {"delay": 300})
    worker = services.worker(settings).wait_ready()
    producer(settings).refused.delay()
    worker.wait_log("Task retry scheduled")
    with redis_server.client() as client:
        eventually(lambda: client.zcard("fleet:parked") == 1, what="parking of the retry")
        eventually(lambda: not client.keys("unacked*"), what="the acknowledgement")
