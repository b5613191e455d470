"""P4: a task that times out is retried for ever, with growing delays, and is never lost."""

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from integration.policy.conftest import dead_letters

FOREVER = {"max_retries": "forever", "max_age": None, "delay": 1, "backoff": 2, "jitter": False}


def test_p4_soft_and_hard_limits_are_retried_with_growing_delays(environment, producer, services, record):
    settings = environment(
        celery_retry=FOREVER,
        celery_time_limit=60,
        celery_soft_time_limit=1,
        celery_task_routes=[{"task": "policyapp.stubborn", "queue": "celery", "time_limit": 2}],
    )
    worker = services.worker(settings, concurrency=2).wait_ready()
    tasks = producer(settings)
    states = []
    for result in (tasks.slow.delay(4), tasks.stubborn.delay(3)):
        result.get(timeout=60, on_message=lambda meta: states.append(meta["status"]))
        assert result.get() == "done"
    # From the start of a run to the next: what it takes, and 1, 2, 4 s. A killed process may take a second more.
    for task, takes, expected in (("slow", 1, (1, 2, 4)), ("stubborn", 2, (1, 2))):
        delays = record.delays(task)
        assert len(delays) == len(expected)
        for delay, wanted in zip(delays, expected, strict=True):
            assert takes + wanted - 0.1 <= delay <= takes + wanted + 2
    assert "FAILURE" not in states
    assert "Task failed" not in worker.log
    assert worker.log.count("WARNING: Task retry scheduled") == 5
    worker.wait_log("reason=TimeLimitExceeded(2,) attempt=2")
    assert "Hard time limit of 2 s exceeded" in worker.log


def test_p4_limits_are_retried_under_gevent(environment, producer, services, record):
    settings = environment(
        celery_retry=FOREVER | {"delay": 0},
        celery_time_limit=60,
        celery_soft_time_limit=1,
        celery_task_routes=[{"task": "policyapp.stubborn", "queue": "celery", "time_limit": 2}],
    )
    worker = services.worker(settings, pool="gevent", concurrency=4).wait_ready()
    tasks = producer(settings)
    for result in [tasks.slow.delay(2), tasks.stubborn.delay(2)]:
        assert result.get(timeout=60) == "done"
    worker.wait_log("reason=SoftTimeLimitExceeded(1,) attempt=1")
    worker.wait_log("reason=TimeLimitExceeded(2,) attempt=1")
    assert "Task failed" not in worker.log


def test_p4_the_limit_is_that_of_the_workers_environment(environment, producer, services):
    settings = environment(celery_retry=FOREVER | {"max_retries": 0})
    services.worker({**settings, "CELERY_TASK_SOFT_TIME_LIMIT": "1"}).wait_ready()
    result = producer(settings).slow.delay()
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=60)


def test_a_hard_limit_that_is_not_retried_is_one_dead_letter(environment, producer, services, redis_server):
    settings = environment(
        celery_retry={**FOREVER, "exceptions": ["ConnectionError"]},
        celery_time_limit=1,
        celery_soft_time_limit=None,
    )
    worker = services.worker(settings).wait_ready()
    result = producer(settings).slow.delay()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=60)
    worker.wait_log("Task failed")
    letter = dead_letters(redis_server).get(result.id)
    assert worker.log.count("Task failed") == 1
    assert (letter.reason, letter.exception) == ("time_limit", "TimeLimitExceeded")
