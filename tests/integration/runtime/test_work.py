"""Tasks of an app that knows nothing of the fleet, run as the topology says."""

import itertools
import time

import pytest
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from celery_fleet.policy.priority import broker_priority
from integration.runtime.plain import VARIABLES, with_route
from integration.support import eventually

SEPARATOR = "\x06\x16"


def lines(path):
    return path.read_text().splitlines()


def test_a_task_is_routed_by_the_pattern_of_its_name_with_the_priority_of_its_queue(
    environment, producer, redis_server
):
    producer(environment()).note.delay("x")
    with redis_server.client() as client:
        assert client.llen(f"email{SEPARATOR}{broker_priority(3)}") == 1
        assert {key for key in client.scan_iter() if not key.startswith(("_kombu", "fleet:"))} == {
            f"email{SEPARATOR}7"
        }


def test_higher_priority_runs_first_and_children_inherit_it(environment, producer, services, record):
    variables = with_route("high", priority=10)
    variables["celery_task_routes"].insert(0, {"task": "plainapp.low", "queue": "celery", "priority": 1})
    variables["celery_task_routes"].insert(0, {"task": "plainapp.parent", "queue": "celery", "priority": 9})
    settings = environment(variables)
    tasks = producer(settings)
    for send, text in (
        (tasks.low, "low"),
        (tasks.note, "mail"),
        (tasks.high, "high"),
        (tasks.parent, "child"),
        (tasks.low, "low too"),
    ):
        send.delay(text)
    services.worker(settings)
    eventually(lambda: len(lines(record)) == 5, what="five tasks")
    assert lines(record) == ["high", "child", "mail", "low", "low too"]


def test_limits_are_in_force(environment, producer, services, record):
    limits = {"time_limit": 2, "soft_time_limit": 1, "retry": {"max_retries": 0}}
    settings = environment(with_route("overrun", **limits))
    worker = services.worker(settings).wait_ready()
    result = producer(settings).overrun.delay()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=15)
    assert lines(record) == ["soft"]
    worker.wait_log(f"ERROR: Task failed task_id={result.id} exception=TimeLimitExceeded")
    time.sleep(0.5)
    assert worker.log.count("Task failed") == 1


def test_a_failing_task_is_retried_with_growing_delays_and_then_fails(
    environment, producer, services, record
):
    settings = environment(with_route("unsteady", retry={"delay": 1, "backoff": 2, "max_retries": 2}))
    worker = services.worker(settings).wait_ready()
    result = producer(settings).unsteady.delay()
    with pytest.raises(ConnectionError):
        result.get(timeout=15)
    times = [float(line) for line in lines(record)]
    first, second = (later - earlier for earlier, later in itertools.pairwise(times))
    assert 0.7 <= first <= 1.9
    assert 1.4 <= second <= 2.9
    for attempt in (1, 2):
        assert (
            f"WARNING: Task retry scheduled task_id={result.id} reason=Connection timeout attempt={attempt}\n"
            in worker.log
        )
    worker.wait_log(f"ERROR: Task failed task_id={result.id} exception=ConnectionError")


def test_a_task_that_kills_its_process_is_retried_a_bounded_number_of_times(
    environment, producer, services, record
):
    settings = environment(with_route("die", retry={"delay": 0, "max_retries": "forever"}, max_deliveries=2))
    worker = services.worker(settings).wait_ready()
    tasks = producer(settings)
    result = tasks.die.delay()
    with pytest.raises(WorkerLostError):
        result.get(timeout=60)
    assert lines(record) == ["run"] * 2
    worker.wait_log(f"ERROR: Task failed task_id={result.id} exception=WorkerLostError")
    assert tasks.add.delay(1, 2).get(timeout=60) == 3
    eventually(lambda: "1 done, 1 failed" in worker.notifications.status, what="the count of failures")


def test_lines_of_the_log(environment, producer, services):
    settings = environment()
    worker = services.worker(settings).wait_ready()
    tasks = producer(settings)
    done = tasks.add.delay(20, 22)
    assert done.get(timeout=60) == 42
    failed = tasks.fail.delay("hush")
    with pytest.raises(ValueError, match="bad input"):
        failed.get(timeout=60)
    tasks.app.send_task("no.such.task", ("hush",))
    running = tasks.nap.delay(30)
    worker.wait_log("INFO: napping")
    running.revoke(terminate=True)
    worker.wait_log(f"WARNING: Task revoked task_id={running.id} terminated=True")
    worker.stop()

    dated = worker.log.splitlines()
    assert all(line[:10].count("-") == 2 and line.split(" ", 1)[1].split(":")[0].isupper() for line in dated)
    told = [line.split(" ", 1)[1] for line in dated]
    assert f"INFO: Task started task_id={done.id} task_name=plainapp.add" in told
    assert any(
        line.startswith(f"INFO: Task completed task_id={done.id} duration=0.")
        and line.endswith(" state=SUCCESS")
        for line in told
    )
    assert f"ERROR: Task failed task_id={failed.id} exception=ValueError" in told
    assert "ERROR: ValueError: bad input" in told
    assert any("a name that the app does not have" in line and "no.such.task" in line for line in told)
    assert f"WARNING: Task revoked task_id={running.id} terminated=True" in told
    assert not any("succeeded in" in line or "received" in line or "hush" in line for line in told)


def test_settings_of_the_app_that_are_not_the_fleets_business_stay(environment, producer):
    conf = producer(environment(VARIABLES)).app.conf
    assert conf.worker_lost_wait == 1
    assert conf.task_acks_late
