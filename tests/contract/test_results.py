"""What the Redis result backend asks of Redis."""

import json
import threading

import pytest
from celery import Celery, states

from contract.laboratory import Laboratory, experiment

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def calls(client, command):
    return client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


@pytest.fixture
def app(server):
    app = Celery("results", broker=server.url(), backend=server.url(1), set_as_current=False)
    yield app
    app.backend.result_consumer.stop()
    app.backend.client.close()
    app.close()


def test_each_call_of_a_task_subscribes_to_its_result(app, client):
    """Publishing costs a SUBSCRIBE more when there is a result. Ended by delivery.results."""
    for _ in range(3):
        app.send_task("t")
    assert calls(client, "subscribe|sub") == 0
    assert calls(client, "subscribe") == 3
    app.send_task("t", ignore_result=True)
    assert calls(client, "subscribe") == 3


def test_a_result_is_read_before_it_is_stored(app, client):
    """One GET more for each state: it keeps a success from being overwritten. delivery.results does both in one."""
    before = calls(client, "get")
    app.backend.store_result("1", "done", states.SUCCESS)
    assert calls(client, "get") == before + 1
    app.backend.store_result("1", ValueError("late"), states.FAILURE)
    assert app.backend.get_task_meta("1")["status"] == states.SUCCESS


def test_who_waits_for_a_result_finds_it_without_having_subscribed(app):
    """Waiting subscribes, and looks whether the result is there already. delivery.results relies on it."""
    app.backend.store_result("early", "done", states.SUCCESS)
    assert app.AsyncResult("early").get(timeout=30) == "done"
    later = threading.Timer(0.2, app.backend.store_result, ("late", "done", states.SUCCESS))
    later.start()
    assert app.AsyncResult("late").get(timeout=30) == "done"
    later.join()


def test_storing_is_retried_only_when_told(app):
    """`result_backend_always_retry` is off by default; policy.connection switches it on."""
    assert not app.conf.result_backend_always_retry
    assert app.backend.always_retry is False


@experiment
def redelivered(lab: Laboratory):
    """How often a task starts whose message comes again, after its success, marked as redelivered."""
    lab.send("quick", "again", task_id="again")
    message = json.loads(lab.redis.lindex("celery", 0))
    lab.worker(settings={"worker_deduplicate_successful_tasks": True})
    lab.wait_state("again")
    starts = []
    for mark in ({}, {"redelivered": True}):
        message["properties"]["delivery_info"] |= mark
        lab.redis.lpush("celery", json.dumps(message))
        lab.send("quick", f"after {mark}")
        lab.wait_end(f"after {mark}")
        starts.append(lab.starts("again"))
    return starts


def test_a_redelivered_task_that_has_succeeded_is_skipped_when_told(redelivered):
    """`worker_deduplicate_successful_tasks` goes by the mark `redelivered` in the delivery info.

    policy.connection switches it on; delivery sets the mark.
    """
    assert redelivered == [2, 2]
