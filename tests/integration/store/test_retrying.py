"""Dead letters retried by operators."""

import base64
import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from celery_fleet.store import retrying
from celery_fleet.store.deadletters import CLAIM_SECONDS, RetryError, letter_of
from celery_fleet.store.retrying import retry, retry_many
from integration.store.conftest import APPS
from integration.support import SRC, eventually

PATIENCE = 60


def queued(fleet, queue="celery"):
    """The messages in a queue."""
    with fleet.app.connection_for_read() as connection:
        client = connection.default_channel.client
        keys = [queue, *(f"{queue}\x06\x16{step}" for step in range(1, 10))]
        return [json.loads(each) for key in keys for each in client.lrange(key, 0, -1)]


def body(message):
    return json.loads(base64.b64decode(message["body"]))


@pytest.fixture
def fleet(environment, fleet_of):
    return fleet_of(environment())


@pytest.fixture
def dead(fleet):
    """dead(task id) -> the id of a letter for a task that is in no queue any more."""

    def make(task_id="t1", name="endings.good", args=(1,), queue="celery", **options):
        fleet.app.send_task(name, args, {"a": "x"}, task_id=task_id, queue=queue, **options)
        (message,) = queued(fleet, queue)
        with fleet.app.connection_for_write() as connection:
            connection.default_channel.queue_purge(queue)
        assert fleet.letters.add(letter_of(json.dumps(message), reason="failed"))
        return task_id

    return make


def test_the_same_task_under_a_new_id(fleet, dead):
    task_id = dead(queue="other", priority=8, expires=3600, headers={"own": 1, "fleet_lost": 2})
    before = fleet.letters.get(task_id)
    new_id = retry(fleet.app, fleet.letters, task_id, "anna")
    (message,) = queued(fleet, "other")
    headers, properties = message["headers"], message["properties"]
    assert body(message)[:2] == [[1], {"a": "x"}]
    assert headers["id"] == new_id == properties["correlation_id"]
    assert headers["task"] == "endings.good"
    assert headers["root_id"] == task_id
    assert headers["own"] == 1
    assert (headers["fleet_origin"], headers["retries"], headers["expires"]) == (task_id, 0, None)
    assert "fleet_lost" not in headers
    assert headers["fleet_since"] > before.since
    assert properties["priority"] == before.priority == 2
    assert not properties["delivery_info"].get("redelivered")
    after = fleet.letters.get(task_id)
    assert (after.retried_as, after.retried_by) == (new_id, "anna")
    assert after.retried_at >= before.failed_at

    with pytest.raises(RetryError, match=f"retried as {new_id}"):
        retry(fleet.app, fleet.letters, task_id, "bert")
    again = retry(fleet.app, fleet.letters, task_id, "bert", queue="celery", force=True)
    assert again not in (new_id, task_id)
    assert len(queued(fleet, "celery")) == 1
    with pytest.raises(RetryError, match="no such dead letter"):
        retry(fleet.app, fleet.letters, "nobody", "anna")


def test_the_chain_goes_on_and_the_group_does_not(fleet, dead):
    good = fleet.tasks.good
    good.apply_async([1], task_id="t1", chain=[good.s(2)], chord=good.s(3), group_id="g")
    (message,) = queued(fleet)
    fleet.app.control.purge()
    fleet.letters.add(letter_of(json.dumps(message), reason="failed"))
    retry(fleet.app, fleet.letters, "t1", "anna")
    (message,) = queued(fleet)
    embed = body(message)[2]
    assert len(embed["chain"]) == 1
    assert embed["chord"] is None
    assert message["headers"]["group"] is None


_OPERATOR = """
import sys
from celery_fleet.install import install
from celery_fleet.store.connection import state_client
from celery_fleet.store.deadletters import DeadLetters, RetryError
from celery_fleet.store.retrying import retry
import endings
install(endings.app)
letters = DeadLetters(state_client(endings.app), 1000, 3600)
letters.count()
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    try:
        retry(endings.app, letters, f"t{number}", "operator")
        print(f"t{number}", flush=True)
    except RetryError as error:
        assert error.why in ("busy", "retried")
"""


def test_two_operators_at_once_run_it_once(environment, fleet, dead):
    for number in range(20):
        dead(f"t{number}")
    variables = {**os.environ, **environment(), "PYTHONPATH": f"{SRC}:{APPS}"}
    operators = [
        subprocess.Popen(
            [sys.executable, "-c", _OPERATOR],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for operator in operators:
        assert operator.stdout.readline() == "ready\n"
    for operator in operators:
        operator.stdin.write("go\n")
        operator.stdin.flush()
    done = [line for operator in operators for line in operator.communicate(timeout=PATIENCE)[0].split()]
    assert [operator.returncode for operator in operators] == [0, 0]
    assert sorted(done) == sorted(f"t{number}" for number in range(20))
    assert sorted(each["headers"]["fleet_origin"] for each in queued(fleet)) == sorted(done)
    assert fleet.letters.totals()["retried"] == 20


@pytest.mark.parametrize("published", [False, True])
def test_a_crash_in_between_leaves_it_retryable(published, fleet, dead, monkeypatch):
    task_id = dead()
    if published:
        monkeypatch.setattr(fleet.letters, "settle", lambda *_: os._exit(1))
    else:
        monkeypatch.setattr(retrying, "_publish", lambda *_: os._exit(1))
    child = multiprocessing.get_context("fork").Process(
        target=retry, args=(fleet.app, fleet.letters, task_id, "anna")
    )
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 1
    monkeypatch.undo()
    before = queued(fleet)
    assert len(before) == published
    with pytest.raises(RetryError, match="somebody else"):
        retry(fleet.app, fleet.letters, task_id, "bert")
    assert 0 < fleet.client.ttl(f"fleet:dead:lock:{task_id}") <= CLAIM_SECONDS
    fleet.client.delete(f"fleet:dead:lock:{task_id}")  # as time would
    new_id = retry(fleet.app, fleet.letters, task_id, "bert")
    messages = queued(fleet)
    assert {message["headers"]["id"] for message in messages} == {new_id}
    # A worker skips the second delivery of a task that has succeeded.
    redelivered = [message["properties"]["delivery_info"].get("redelivered") for message in messages]
    assert redelivered.count(True) == 1


def test_what_cannot_be_published_can_be_retried(fleet, dead, monkeypatch):
    task_id = dead()

    def refuse(*_, **__):
        raise ConnectionError("no broker")

    with monkeypatch.context() as patch:
        patch.setattr(fleet.app.amqp, "send_task_message", refuse)
        with pytest.raises(ConnectionError):
            retry(fleet.app, fleet.letters, task_id, "anna")
    assert fleet.letters.get(task_id).retried_as == ""
    retry(fleet.app, fleet.letters, task_id, "anna")


@pytest.mark.parametrize(
    "raw",
    [
        "no JSON at all",
        json.dumps(
            {
                "body": "e30=",
                "headers": {"x": 1},
                "properties": {"body_encoding": "base64"},
                "content-type": "a/b",
            }
        ),
    ],
)
def test_what_nobody_could_decode_is_sent_again_as_it_was(raw, fleet):
    letter = letter_of(raw, reason="undecodable", queue="other")
    assert letter.task_id.startswith("message-")
    fleet.letters.add(letter)
    assert retry(fleet.app, fleet.letters, letter.task_id, "anna") == f"{letter.task_id}#1"
    with fleet.app.connection_for_read() as connection:
        (found,) = connection.default_channel.client.lrange("other", 0, -1)
    if raw.startswith("{"):
        found = json.loads(found)
        assert (found["body"], found["headers"], found["content-type"]) == ("e30=", {"x": 1}, "a/b")
    else:
        assert found.decode() == raw


def test_bulk_retry_goes_on_after_a_refusal(fleet, dead):
    ids = [dead(f"t{number}") for number in range(3)]
    retry(fleet.app, fleet.letters, "t1", "anna")
    result = retry_many(fleet.app, fleet.letters, [*ids, "t9"], "bert")
    assert sorted(result.done) == ["t0", "t2"]
    assert sorted(result.refused) == ["t1", "t9"]
    assert len(queued(fleet)) == 3


def test_a_task_that_succeeds_when_it_is_retried(environment, services, fleet_of, tmp_path, record):
    settings = environment()
    fleet = fleet_of(settings)
    services.worker(settings).wait_ready()
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    failed = fleet.tasks.fail_while.delay(str(obstacle))
    eventually(lambda: fleet.letters.get(failed.id), PATIENCE, "the dead letter")
    second = retry(fleet.app, fleet.letters, failed.id, "anna")
    eventually(lambda: fleet.letters.get(second), PATIENCE, "the second dead letter")
    assert fleet.letters.get(second).origin == failed.id
    obstacle.unlink()
    third = retry(fleet.app, fleet.letters, second, "anna")
    assert fleet.app.AsyncResult(third).get(timeout=PATIENCE) == "done"
    assert record.read_text().count("ran") == 3
    assert fleet.letters.get(second).retried_as == third
    assert fleet.letters.count() == 2
    eventually(lambda: (found := fleet.index.get(third)) and found.state == "SUCCESS", PATIENCE, "the record")
    assert fleet.index.get(third).origin == second
