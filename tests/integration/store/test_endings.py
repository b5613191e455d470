"""Every end of a task: which are dead letters, of what reason, and what the index says."""

import json
import signal

import pytest

from integration.runtime.plain import changed
from integration.support import eventually

PATIENCE = 60

# task, arguments, reason and exception of its dead letter, text in its error
ENDINGS = {
    "exception": ("fail", ["boom"], "failed", "ValueError", "boom"),
    "retries exhausted": ("exhaust", [], "exhausted", "KeyError", "k"),
    "hard time limit": ("hang", [], "time_limit", "TimeLimitExceeded", "1"),
    "worker lost": ("die", [], "worker_lost", "WorkerLostError", "exited prematurely"),
    "rejected": ("refuse", [], "rejected", "Reject", "no"),
    "unpicklable exception": ("unpicklable", [], "failed", "UnpicklableError", "1"),
    "unserialisable result": ("bad_result", [], "failed", "EncodeError", "not JSON serializable"),
    "bad arguments": ("two", [1, 2, 3], "invalid", "TypeError", "two()"),
}


KILLERS = {"hard time limit", "worker lost"}  # tasks that only processes of their own can have


@pytest.mark.parametrize(
    ("pool", "without"),
    [("prefork", set()), ("threads", KILLERS), ("gevent", {"worker lost"}), ("solo", KILLERS)],
)
def test_every_end_of_a_task(pool, without, environment, services, fleet_of):
    settings = environment()
    fleet = fleet_of(settings)
    worker = services.worker(settings, pool=pool, concurrency=2).wait_ready()
    app = fleet.app
    endings = {end: ending for end, ending in ENDINGS.items() if end not in without}

    sent = {
        end: app.send_task(f"endings.{task}", args, priority=3) for end, (task, args, *_) in endings.items()
    }
    good, ignored = fleet.tasks.good.delay(1, a="x"), fleet.tasks.ignore.delay()
    expired = fleet.tasks.good.apply_async(expires=-1)
    unknown = app.send_task("endings.nobody", [1], {"b": 2})
    eventually(lambda: fleet.letters.count() == len(endings) + 1, PATIENCE, "all dead letters")
    assert good.get(timeout=60) == 1
    worker.stop()
    assert fleet.letters.count() == len(endings) + 1

    for end, (task, args, reason, exception, error) in endings.items():
        letter = fleet.letters.get(sent[end].id)
        assert letter is not None, end
        found = (letter.name, letter.args, letter.kwargs, letter.reason, letter.exception)
        assert found == (f"endings.{task}", args, {}, reason, exception), end
        assert error in letter.error, end
        assert letter.queue == "celery"
        assert letter.priority == 7  # as the broker has it
        assert letter.worker.startswith("default@")
        assert letter.attempts == (2 if reason == "exhausted" else 1), end
        assert json.loads(letter.message)["headers"]["id"] == letter.task_id
        assert app.AsyncResult(letter.task_id).state == "FAILURE", end
        record = fleet.index.get(letter.task_id)
        assert record.state == "FAILURE", end
        assert error in record.error
    assert "raise ValueError" in fleet.letters.get(sent["exception"].id).traceback

    letter = fleet.letters.get(unknown.id)
    assert (letter.reason, letter.name, letter.args, letter.kwargs) == (
        "unknown_task",
        "endings.nobody",
        [1],
        {"b": 2},
    )
    states = {result.id: fleet.index.get(result.id).state for result in (good, ignored, expired)}
    assert list(states.values()) == ["SUCCESS", "IGNORED", "REVOKED"]
    record = fleet.index.get(good.id)
    assert record.received <= record.started <= record.ended
    assert record.runtime > 0
    assert (record.queue, record.name, record.args) == ("celery", "endings.good", "(1,)")
    with fleet.app.connection_for_write() as connection:
        assert connection.default_channel.client.hlen("unacked:default@x") == 0


DIES_BEFORE_IT_ACKNOWLEDGES = """
import os
from celery_fleet.service.request import FleetRequest
FleetRequest.acknowledge = lambda self: os._exit(9)
"""


def test_a_worker_that_dies_between_the_letter_and_the_acknowledgement(
    environment, services, fleet_of, tmp_path, record
):
    """The task runs again: the letter stays one, and goes when the task succeeds after all."""
    settings = environment()
    fleet = fleet_of(settings)
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    task = fleet.tasks.fail_while.delay(str(obstacle))
    for runs in (1, 2):
        worker = services.worker(settings, python=changed(DIES_BEFORE_IT_ACKNOWLEDGES))
        worker.process.wait(PATIENCE)
        assert fleet.letters.count() == 1
        assert record.read_text().count(f"ran {task.id}") == runs
    obstacle.unlink()
    services.worker(settings).wait_ready()
    eventually(lambda: fleet.letters.count() == 0, PATIENCE, "the withdrawal of the letter")
    assert fleet.app.AsyncResult(task.id).state == "SUCCESS"


NEVER_WRITES = """
from celery_fleet.service import recorder
recorder._FLUSH_PERIOD = recorder._RETRY_PERIOD = 1000
"""


@pytest.mark.parametrize(
    ("pool", "stop"),
    [("prefork", signal.SIGTERM), ("prefork", signal.SIGQUIT), ("threads", signal.SIGTERM)],
)
def test_a_stopping_worker_writes_what_it_knows(pool, stop, environment, services, fleet_of):
    settings = environment()
    fleet = fleet_of(settings)
    worker = services.worker(settings, pool=pool, python=changed(NEVER_WRITES)).wait_ready()
    task = fleet.tasks.good.delay()
    task.get(timeout=PATIENCE)
    eventually(lambda: "1 done" in worker.notifications.status, PATIENCE, "the end of the task")
    assert fleet.index.get(task.id) is None
    worker.stop(stop, patience=PATIENCE)
    assert fleet.index.get(task.id).state == "SUCCESS"


BODY = [[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def envelope(body, headers, content_type="application/json", **more):
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps(
        {
            "body": text,
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": headers,
            "properties": {
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "priority": 0,
                "delivery_tag": f"tag-{headers.get('id') if isinstance(headers, dict) else headers}",
                **more,
            },
        }
    )


def task(task_id, **headers):
    return {"task": "endings.good", "id": task_id, "lang": "py", **headers}


BAD_MESSAGES = {
    "b1": (envelope("{not json", task("b1")), "undecodable"),
    "b2": (envelope("gAR9lC4=", task("b2"), "application/x-python-serialize"), "undecodable"),
    "b3": (envelope("x", task("b3"), "application/nothing"), "undecodable"),
    "b4": (envelope(7, task("b4")), "invalid"),
    "b5": (envelope([[1], {}], task("b5")), "invalid"),
    "b6": (envelope([{"x": 1}, [], {}], task("b6")), "invalid"),
    "b7": (envelope(BODY, task("b7", eta="soon")), "invalid"),
    "b8": (envelope(BODY, task("b8", eta="0001-01-01T00:00:00+14:00")), "invalid"),
    "b9": (envelope(BODY, task("b9", timelimit="long")), "invalid"),
    "b10": (envelope(BODY, task("b10", retries="x")), "invalid"),
    "b11": (envelope(BODY, task("b11", compression="zlib")), "undecodable"),
    "message-tag-None": (envelope({"hello": 1}, {}), "invalid"),
    "message-tag-13": (envelope(BODY, {"task": ["x"], "id": 13}), "invalid"),
}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_bad_messages_are_set_aside(pool, environment, services, fleet_of):
    settings = environment()
    fleet = fleet_of(settings)
    worker = services.worker(settings, pool=pool, concurrency=1).wait_ready()
    for raw, _ in BAD_MESSAGES.values():
        fleet.push(raw)
    eventually(lambda: fleet.letters.count() >= len(BAD_MESSAGES), PATIENCE, "the dead letters")
    # The worker has not suffered.
    assert fleet.tasks.good.delay().get(timeout=PATIENCE) == 1
    worker.stop()
    found = {letter.task_id: letter.reason for letter in fleet.letters.list(limit=100).letters}
    assert found == {task_id: reason for task_id, (_, reason) in BAD_MESSAGES.items()}
    for task_id, (raw, _) in BAD_MESSAGES.items():
        assert json.loads(fleet.letters.get(task_id).message)["body"] == json.loads(raw)["body"]
    assert fleet.app.AsyncResult("b1").state == "FAILURE"
