"""A message is in its queue or recorded as its node's: the transport alone, without workers."""

import json
import threading
import time

import pytest
from celery.worker import state
from kombu import Exchange, Queue
from kombu.utils.uuid import uuid

from celery_fleet.delivery import agreement, cancellation
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.scripts import CLAIM
from integration.delivery.conftest import NODE, Inbox, publish, queue
from integration.support import eventually

UNACKED = f"unacked:{NODE}"


@pytest.mark.parametrize(("kind", "kept"), [("atomic", 1), ("stock", 0)])
def test_a_process_that_ends_between_the_pop_and_the_record(connect, client, kind, kept):
    """The window in which kombu's transport loses a message: it has left the queue, and nobody has read it."""
    client.script_load(CLAIM.text)
    publish(connect("stock"), "q", "x")
    inbox = Inbox(connect(kind), "q")
    channel = inbox.channel
    channel.connection.cycle._register_BRPOP(channel)  # asks
    eventually(lambda: client.llen("q") == 0, what="the pop")
    channel.client.connection._sock.close()  # as the end of the process does; nothing is said to Redis
    assert client.llen("q") == 0
    assert client.hlen(UNACKED) == kept
    channel._in_poll = None


def test_what_is_acknowledged_leaves_nothing(connect, client):
    publish(connect(), "q", "x")
    inbox = Inbox(connect(), "q")
    assert inbox.drain(1) == ["x"]
    assert client.hlen(UNACKED) == client.zcard(f"unacked_index:{NODE}") == 1
    inbox.messages[0].ack()
    assert client.hlen(UNACKED) == client.zcard(f"unacked_index:{NODE}") == 0


def test_kombu_itself_can_restore_what_is_recorded(connect, client):
    publish(connect(), "q", "x")
    inbox = Inbox(connect(), "q")
    inbox.drain(1)
    client.delete("_kombu.binding.q")  # by which kombu's restore loses messages
    stock = connect("stock").default_channel
    stock.qos.restore_by_tag(inbox.messages[0].delivery_tag)
    assert client.llen("q") == 1
    assert client.hlen(UNACKED) == 0


def test_higher_priorities_of_all_queues_come_first(connect):
    producer = connect()
    for priority in (5, 9, 0, 3):
        for name in ("a", "b"):
            publish(producer, name, f"{name}{priority}", priority=priority)
    inbox = Inbox(connect(queue_order_strategy="priority"), "a", "b")
    assert inbox.drain(8) == ["a0", "b0", "a3", "b3", "a5", "b5", "a9", "b9"]


def test_queues_take_turns(connect):
    producer = connect()
    for name in "aaabbb":
        publish(producer, name, name)
    assert Inbox(connect(), "a", "b").drain(6) in (list("ababab"), list("bababa"))


def test_no_more_is_taken_than_there_is_credit_for(connect, client):
    producer = connect()
    for number in range(5):
        publish(producer, "q", number)
    inbox = Inbox(connect(), "q", prefetch=2)
    assert inbox.drain(3, patience=1.0) == [0, 1]
    assert client.llen("q") == 3
    inbox.messages[0].ack()
    assert inbox.drain(3) == [0, 1, 2]


@pytest.mark.parametrize(("kind", "longest"), [("atomic", 0.6), ("stock", 3.0)])
def test_an_idle_consumer_is_woken(connect, kind, longest):
    """By a producer of the same transport at once; kombu's own is noticed by the next look, within a second."""
    producer, inbox = connect(kind), Inbox(connect(), "q")
    publish(producer, "q", 0)
    inbox.drain(1)
    waits = []
    for number in range(1, 4):
        inbox.drain(number + 1, patience=0.4)  # it waits
        sent: list[float] = []

        def send(number: int = number, sent: list[float] = sent) -> None:
            sent.append(time.monotonic())
            publish(producer, "q", number)

        timer = threading.Timer(0.2, send)
        timer.start()
        inbox.drain(number + 1)
        waits.append(time.monotonic() - sent[0])
        timer.join()
    assert min(waits) < longest


def test_a_wake_up_for_another_queue_is_passed_on(connect, client):
    """Who is woken for one queue and takes from another leaves the first to the next who waits."""
    one, both = (
        Inbox(connect(), "q1"),
        Inbox(connect(queue_order_strategy="priority"), "q0", "q1", prefetch=1),
    )
    both.drain(1, patience=0.6)
    one.drain(1, patience=0.4)
    channel = connect().default_channel
    with channel.conn_or_acquire() as raw:  # q0 has a message that rang no bell
        publish(connect("stock"), "q0", "zero")
        assert raw.llen("q0") == 1
    channel.wire.call("LPUSH", Keys().wake("q1"), "1")
    publish(connect("stock"), "q1", "one")
    assert both.drain(1) == ["zero"]
    assert one.drain(1) == ["one"]


@pytest.mark.parametrize(("producer", "consumer"), [("atomic", "stock"), ("stock", "atomic")])
def test_both_transports_understand_each_other(connect, producer, consumer):
    publish(connect(producer), "q", {"n": 1}, priority=7)
    assert Inbox(connect(consumer), "q").drain(1) == [{"n": 1}]


@pytest.mark.parametrize(
    "raw",
    ["{", "[]", "null", '{"properties": {}}', '{"properties": {"delivery_tag": 7}}', b"\xff\xfe", "[" * 2000],
)
def test_what_nobody_can_decode_is_set_aside(connect, client, raw):
    client.lpush("q", raw)
    publish(connect(), "q", "x")
    assert Inbox(connect(), "q").drain(1) == ["x"]
    kept = client.lrange("fleet:malformed", 0, -1)
    assert kept == [b'"q"\n' + (raw if isinstance(raw, bytes) else raw.encode())]


def test_a_body_that_is_no_body_is_set_aside(connect, client):
    tag = uuid()
    client.lpush(
        "q",
        json.dumps(
            {"body": "abc", "properties": {"delivery_tag": tag, "body_encoding": "base64"}, "headers": {}}
        ),
    )
    publish(connect(), "q", "x")
    inbox = Inbox(connect(), "q")
    assert inbox.drain(1) == ["x"]
    assert tag in client.lindex("fleet:malformed", 0).decode()
    assert client.hlen(UNACKED) == 1


def test_scripts_that_redis_has_forgotten(connect, client):
    producer, inbox = connect(), Inbox(connect(), "q")
    for number in range(3):
        client.script_flush()
        publish(producer, "q", number)
        assert len(inbox.drain(number + 1)) == number + 1
        client.script_flush()
        inbox.messages[number].ack()
    assert client.hlen(UNACKED) == 0


def test_a_key_prefix(connect, client):
    producer, inbox = connect(global_keyprefix="p:"), Inbox(connect(global_keyprefix="p:"), "q")
    publish(producer, "q", 0)
    inbox.drain(1)
    publish(producer, "q", 1, headers={"eta": "2999-01-01T00:00:00+00:00"})
    assert client.hlen(f"p:{UNACKED}") == 1
    assert client.zcard("p:fleet:parked") == 1
    inbox.connection.release()
    assert client.llen("p:q") == 1
    assert {key for key in client.scan_iter() if not key.startswith(b"p:")} == set()


def test_a_batch(connect, client):
    producer = connect().Producer()
    wanted = queue("q")
    far = {"eta": "2999-01-01T00:00:00+00:00"}
    with producer.batch():
        for headers in ({}, {}, far):
            producer.publish(
                "x", exchange=wanted.exchange, routing_key="q", declare=[wanted], headers=headers
            )
        assert client.llen("q") == 0
    assert client.llen("q") == 2
    assert client.zcard("fleet:parked") == 1
    assert client.llen("fleet:wake:q") == 2
    assert Inbox(connect(), "q").drain(2) == ["x", "x"]


def test_wakes_are_bounded_and_expire(connect, client):
    producer = connect()
    for number in range(100):
        publish(producer, "q", number)
    assert client.llen("fleet:wake:q") == 64
    assert 0 < client.ttl("fleet:wake:q") <= 60


def test_a_queue_that_expires(connect, client):
    wanted = Queue("q", Exchange("q"), routing_key="q", expires=30)
    with connect().Producer() as producer:
        producer.publish("x", exchange=wanted.exchange, routing_key="q", declare=[wanted])
    assert 0 < client.pttl("q") <= 30_000


def test_fanout_and_consumers_without_acknowledgement(connect, client):
    everyone = Exchange("all", type="fanout")
    seen = []
    consumer = connect()
    inbox = consumer.Consumer([Queue("mine", everyone)], on_message=seen.append, no_ack=True)
    inbox.consume()
    _drained(consumer)
    eventually(client.pubsub_numpat, what="the subscription")
    with connect().Producer() as producer:
        producer.publish("x", exchange=everyone, declare=[everyone])
    eventually(lambda: seen or _drained(consumer), what="the broadcast")
    plain = Inbox(connect(), "q", no_ack=True)
    publish(connect(), "q", "y")
    assert plain.drain(1) == ["y"]
    assert client.exists(UNACKED) == 0


def _drained(connection):
    try:
        connection.drain_events(timeout=0.2)
    except TimeoutError:
        return False
    return True


def test_messages_come_back_in_order_when_a_consumer_stops(connect, client):
    producer = connect()
    for number in range(4):
        publish(producer, "q", number)
    inbox = Inbox(connect(), "q", prefetch=3)
    assert inbox.drain(3) == [0, 1, 2]
    inbox.messages[1].ack()
    inbox.connection.release()
    assert client.hlen(UNACKED) == 0
    again = Inbox(connect(), "q")
    assert again.drain(3) == [0, 2, 3]
    assert [message.delivery_info.get("redelivered") for message in again.messages] == [True, True, None]


def test_a_rejected_message_goes_to_the_end_or_away(connect, client):
    for number in range(3):
        publish(connect(), "q", number)
    inbox = Inbox(connect(), "q", prefetch=1)
    inbox.drain(1)
    inbox.messages[0].requeue()
    inbox.drain(2)
    inbox.messages[1].reject()
    inbox.drain(3)
    inbox.messages[2].ack()
    assert inbox.drain(4) == [0, 1, 2, 0]


def test_a_message_for_a_consumer_that_has_left_goes_back(connect, client):
    inbox = Inbox(connect(), "q", "other")
    inbox.drain(1, patience=0.4)
    channel = inbox.channel
    publish(connect("stock"), "q", "first")
    publish(connect("stock"), "q", "second")
    channel._found_nothing = None
    channel._in_poll = None
    channel.client.connection.disconnect()
    channel.connection.cycle._register_BRPOP(channel)
    eventually(lambda: client.llen("q") == 1, what="the claim")
    inbox.consumer.cancel_by_queue("q")
    inbox.drain(1, patience=0.4)
    assert client.llen("q") == 2
    assert Inbox(connect(), "q").drain(2) == ["first", "second"]


def test_one_message_on_request(connect, client):
    publish(connect(), "q", "x")
    channel = connect().default_channel
    message = channel.basic_get("q")
    assert message.decode() == "x"
    assert client.hlen(UNACKED) == 1
    message.ack()
    assert channel.basic_get("q") is None
    publish(connect(), "q", "y")
    assert channel.basic_get("q", no_ack=True).decode() == "y"
    assert client.hlen(UNACKED) == 0


def test_bindings_that_were_deleted_lose_no_message(connect, client):
    producer = connect()
    publish(producer, "q", 1)
    client.delete("_kombu.binding.q")
    time.sleep(1.1)  # as long as a route is remembered
    publish(producer, "q", 2)
    assert client.llen("q") == 2
    assert client.exists("_kombu.binding.q")


def test_a_cancelled_task_is_known_as_revoked_before_it_is_delivered(connect, client):
    task = uuid()
    cancellation.cancel(client, [task, "other"])
    assert cancellation.cancelled(client, [task, "unknown"]) == {task}
    publish(connect(), "q", "x", headers={"id": task})
    Inbox(connect(), "q").drain(1)
    assert task in state.revoked
    cancellation.forget(client, [task])
    assert cancellation.cancelled(client, [task, "other"]) == {"other"}
    state.revoked.discard(task)


def test_a_producer_of_other_priorities_is_refused(connect):
    publish(connect(), "q", "x")
    with pytest.raises(agreement.Disagreement, match="priority_steps"):
        publish(connect(priority_steps=[0, 3, 6, 9]), "q", "y")
