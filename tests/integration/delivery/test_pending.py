"""The notes of what waits: written with each message, removed by the claim, never wrong for long."""

import time

import pytest
from kombu import Exchange, Queue

from celery_fleet.delivery import pending as module
from celery_fleet.delivery.commands import ClientCommands
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.pending import Pending, holders, locate, pending, search, take_out, tidy
from integration.delivery.conftest import NODE, Inbox, publish, queue

KEYS = Keys()
FAR = "2999-01-01T00:00:00+00:00"
FAR_TIME = 32472144000.0


def send(connection, task_id, name="q", priority=5, eta=None, **options):
    headers = {"id": task_id, "task": "app.work", "eta": eta}
    publish(connection, name, [[], {}, {}], headers=headers, priority=priority, **options)


def noted(client, keys=KEYS):
    return sorted(key.decode() for key in client.hkeys(keys.pending))


def test_what_waits_is_known_until_it_is_taken(connect, client):
    producer = connect()
    send(producer, "a", priority=3)
    send(producer, "b", priority=0)
    send(producer, "far", eta=FAR)
    publish(producer, "q", "no task")
    assert pending(client, ["a", "b", "far", "other"]) == {
        "a": Pending("a", "q", 7, None),
        "b": Pending("b", "q", 10, None),
        "far": Pending("far", "q", 5, FAR_TIME),
    }
    inbox = Inbox(connect(), "q")
    inbox.drain(3)
    assert noted(client) == ["far"]
    inbox.connection.release()  # gives back what it has
    assert noted(client) == ["a", "b", "far"]
    assert pending(client, ["a"])["a"].priority == 7


def test_a_message_of_another_producer_that_is_parked(connect, client):
    send(connect("stock"), "far", eta=FAR)
    assert noted(client) == []
    Inbox(connect(), "q").drain(1, patience=0.5)
    assert pending(client, ["far"])["far"].due == FAR_TIME


def test_batches_prefixes_and_queues_that_expire(connect, client):
    producer, keys = connect(global_keyprefix="p:"), Keys("p:")
    with producer.Producer() as batching, batching.batch():
        for task_id, eta in (("a", None), ("far", FAR)):
            wanted = queue("q")
            headers = {"id": task_id, "task": "app.work", "eta": eta}
            batching.publish([], exchange=wanted.exchange, routing_key="q", declare=[wanted], headers=headers)
    short = Queue("short", Exchange("short"), routing_key="short", expires=30)
    with producer.Producer() as plain:
        headers = {"id": "b", "task": "app.work", "eta": FAR}
        plain.publish([], exchange=short.exchange, routing_key="short", declare=[short], headers=headers)
    assert noted(client, keys) == ["a", "b", "far"]
    assert pending(client, ["b"], keys)["b"] == Pending("b", "short", 10, None)
    assert take_out(client, "far", keys)
    assert take_out(client, "a", keys)
    assert noted(client, keys) == ["b"]


@pytest.mark.parametrize("wanted", ["t0", "t7", "t1000", "t1999"])
def test_a_message_is_found_near_both_ends(connect, client, wanted):
    producer = connect()
    for number in range(8):
        send(producer, f"t{number}")
    raw = client.lindex(KEYS.queue("q", 5), 0)
    with client.pipeline() as pipe:
        for number in range(8, 2000):
            pipe.lpush(KEYS.queue("q", 5), raw.replace(b'"t7"', b'"t%d"' % number))
        pipe.execute()
    client.hset(KEYS.pending, wanted, client.hget(KEYS.pending, "t7"))
    found = locate(client, wanted)
    assert (found.position, found.message["headers"]["id"]) == (int(wanted[1:]) + 1, wanted)
    assert take_out(client, wanted)
    assert client.llen(KEYS.queue("q", 5)) == 1999
    assert not client.hexists(KEYS.pending, wanted)
    assert locate(client, wanted) is None
    assert not take_out(client, wanted)


def test_work_is_bounded(connect, client, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "_STEP", 2)
    for number in range(6):
        send(connect(), str(number))
    assert [number for number in range(6) if locate(client, str(number))] == [0, 1, 4, 5]
    assert not take_out(client, "2")
    assert client.llen(KEYS.queue("q", 5)) == 6


def test_other_messages_that_name_a_task_are_left(connect, client):
    send(connect(), "child", reply_to="a", correlation_id="a")
    send(connect(), "a")
    assert take_out(client, "a")
    assert b'"child"' in client.lindex(KEYS.queue("q", 5), 0)


def test_what_is_not_noted_is_searched_for(connect, client):
    stock = connect("stock")
    send(stock, "a", name="other", priority=9)
    send(stock, "b")
    assert (search(client, "a", ["q", "other"]).queue, search(client, "a", ["other"]).priority) == (
        "other",
        1,
    )
    send(connect(), "far", eta=FAR)
    client.delete(KEYS.pending)
    assert search(client, "far", ["q"]).due == FAR_TIME
    assert search(client, "nobody", ["q", "other"]) is None


def test_who_holds_a_message(connect, client):
    for task_id in ("a", "b"):
        send(connect(), task_id)
    Inbox(connect(), "q", prefetch=1).drain(1)
    assert holders(client, "a", ["other@here", NODE]) == [NODE]
    assert holders(client, "b", [NODE]) == []
    assert holders(client, "a", []) == []


def test_notes_of_what_was_purged_or_expired_are_forgotten(connect, client):
    producer = connect()
    for task_id, name in (
        ("gone", "purged"),
        ("stays", "q"),
        ("far", "purged"),
        ("parked and gone", "purged"),
    ):
        send(producer, task_id, name=name, eta=FAR if "far" in task_id or "parked" in task_id else None)
    client.hset(KEYS.pending, "parked and gone", f"{int(time.time())} 1700000000.0 purged\x06\x165")
    client.hset(KEYS.pending, "old", "1700000000 - q\x06\x165")
    client.hset(KEYS.pending, "no note", "?")
    client.delete(KEYS.queue("purged", 5))
    commands, cursor = ClientCommands(client), 0
    for _ in range(3):
        cursor = tidy(commands, KEYS, cursor)
    assert noted(client) == ["far", "stays"]


def test_a_claim_is_not_kept_up_by_what_is_no_hash(connect, client):
    send(connect(), "a")
    client.delete(KEYS.pending)
    client.set(KEYS.pending, "no hash")
    send(connect(), "b")
    assert len(Inbox(connect(), "q").drain(2)) == 2
