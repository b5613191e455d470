"""Queues that are paused, and workers that are drained: at the transport, and with real workers."""

import json
import threading
import time
from contextlib import suppress

import pytest

from celery_fleet.delivery.keys import WAKE_LIMIT, Keys
from celery_fleet.delivery.pausing import QUEUE, WORKER, pause, pauses, resume
from celery_fleet.store.connection import broker_client
from integration.delivery.conftest import NODE, Inbox, publish

KEYS = Keys()


def claims(client):
    """How often consumers have asked: each time they look whether anything is paused."""
    return client.info("commandstats").get("cmdstat_exists", {"calls": 0})["calls"]


def drain_for(inbox, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(TimeoutError):
            inbox.connection.drain_events(timeout=0.1)


def test_what_is_said_of_pauses(client):
    assert pauses(client) == []
    assert pause(client, QUEUE, "q", "ann", "deploy")
    assert pause(client, WORKER, "default", "bob")
    assert not pause(client, QUEUE, "q", "bob", "another")
    first, second = pauses(client)
    assert (first.kind, first.name, first.by, first.reason) == ("queue", "q", "ann", "deploy")
    assert abs(first.at - time.time()) < 60
    assert second.holds("default@here")
    assert not second.holds("io@here")
    assert not first.holds("q@here")
    assert resume(client, QUEUE, "q", ["q"])
    assert not resume(client, QUEUE, "q", ["q"])
    assert [each.name for each in pauses(client)] == ["default"]
    with pytest.raises(ValueError, match="cannot be paused"):
        pause(client, "host", "h", "ann")


def test_a_paused_queue_waits_and_others_go_on(connect, client):
    producer = connect()
    pause(client, QUEUE, "a", "ann")
    for number in range(3):
        publish(producer, "a", f"a{number}", priority=number)
        publish(producer, "b", f"b{number}", priority=number)
    inbox = Inbox(connect(), "a", "b")
    assert inbox.drain(4, patience=1.0) == ["b0", "b1", "b2"]
    resume(client, QUEUE, "a", ["a"])
    assert inbox.drain(6)[3:] == ["a0", "a1", "a2"]


def test_a_queue_with_an_odd_name_and_a_prefix(connect, client):
    odd, keys = 'say "hé"\\', Keys("p:")
    producer, inbox = connect(global_keyprefix="p:"), Inbox(connect(global_keyprefix="p:"), odd)
    pause(client, QUEUE, odd, "ann", keys=keys)
    publish(producer, odd, 0)
    assert inbox.drain(1, patience=0.5) == []
    resume(client, QUEUE, odd, [odd], keys)
    assert inbox.drain(1) == [0]


@pytest.mark.parametrize(("kind", "name"), [(QUEUE, "q"), (WORKER, NODE), (WORKER, "test")])
def test_idle_consumers_do_not_spin_and_wake_at_once(connect, client, kind, name):
    inbox, producer = Inbox(connect(), "q"), connect()
    pause(client, kind, name, "ann")
    publish(producer, "q", 0)
    drain_for(inbox, 0.3)
    before = claims(client)
    sender = threading.Thread(target=lambda: [publish(producer, "q", number) for number in range(1, 40)])
    sender.start()
    drain_for(inbox, 1.0)
    sender.join()
    assert claims(client) - before < 8
    assert inbox.messages == []
    woken = threading.Timer(0.3, lambda: resume(client, kind, name, ["q"]))
    woken.start()
    began = time.monotonic()
    inbox.drain(1)
    assert 0.25 < time.monotonic() - began < 0.7
    woken.join()
    assert inbox.drain(40) == list(range(40))


def test_a_drained_worker_takes_nobody_s_wake_up(connect, client):
    """It waited for the queue when it was drained, and is the first to be woken: it leaves that to the others."""
    drained = Inbox(connect(unacked_key="unacked:first@here"), "q")
    other = Inbox(connect(), "q")
    delays = []
    for number in range(3):
        drain_for(drained, 0.3)  # it waits
        drain_for(other, 0.3)
        pause(client, WORKER, "first@here", "ann")
        publish(connect(), "q", number)
        listener = threading.Thread(target=drain_for, args=(drained, 0.5))
        listener.start()
        began = time.monotonic()
        other.drain(number + 1)
        delays.append(time.monotonic() - began)
        listener.join()
        resume(client, WORKER, "first@here", ["q"])
    assert drained.messages == []
    assert min(delays) < 0.4


def test_wake_ups_are_as_many_as_messages_and_bounded(connect, client):
    for name, size in (("few", 3), ("many", 100)):
        for number in range(size):
            publish(connect("stock"), name, number, priority=number % 10)
        pause(client, QUEUE, name, "ann")
        resume(client, QUEUE, name, [name])
        assert client.llen(KEYS.wake(name)) == min(size, WAKE_LIMIT)
        assert 0 < client.ttl(KEYS.wake(name)) <= 60
        assert 0 < client.ttl(KEYS.resumed(f"queue:{name}")) <= 60


def test_a_paused_queue_gives_nothing_to_who_asks_once(connect, client):
    publish(connect(), "q", 1)
    channel = connect().default_channel
    pause(client, QUEUE, "q", "ann")
    assert channel.basic_get("q") is None
    resume(client, QUEUE, "q", ["q"])
    assert json.loads(channel.basic_get("q").body) == 1


# -- with workers


def test_a_pause_survives_workers_and_redis(fleet, services, own_redis_server):
    """A thousand tasks wait through restarts of both; then each runs once."""
    services.server = own_redis_server
    own_redis_server.start()
    fleet, size = fleet(), 1_000
    note = fleet.app.note
    broker = broker_client(fleet.app.app)
    assert pause(broker, QUEUE, "celery", "ann", "a deployment")
    worker = fleet.worker(concurrency=20, pool="gevent")
    with fleet.app.app.producer_pool.acquire() as producer:
        for number in range(size):
            note.apply_async([number], producer=producer)
    note.apply_async(["before"], queue="other")
    fleet.wait("ran", 1)
    worker.stop()
    own_redis_server.stop()
    own_redis_server.start()
    worker = fleet.worker(concurrency=20, pool="gevent")
    note.apply_async(["after"], queue="other")
    fleet.wait("ran", 2)
    assert fleet.lines("ran") == ["before", "after"]
    assert [each.reason for each in pauses(broker)] == ["a deployment"]
    assert broker.hlen(KEYS.pending) == size
    assert resume(broker, QUEUE, "celery", ["celery"])
    fleet.wait("ran", size + 2)
    assert set(fleet.count("ran").values()) == {1}
    assert broker.exists(KEYS.pending) == 0


def test_a_worker_is_drained_while_the_other_goes_on(fleet):
    fleet = fleet()
    broker = broker_client(fleet.app.app)
    first = fleet.worker(concurrency=1)
    fleet.app.hold.delay("held", fleet.gate)
    fleet.wait("began", 1)
    node = next(iter(broker.hkeys(KEYS.leases))).decode()
    assert pause(broker, WORKER, node, "ann")
    second = fleet.services.start(
        ["worker", "-n", "second@%h", "-Q", "celery,other", "--pool=solo", "-l", "info"],
        {**fleet.environment, "CELERY_FLEET_POOL": "second"},
    ).wait_ready()
    for number in range(20):
        fleet.app.note.delay(number)
    fleet.wait("ran", 20)
    fleet.open_gate()
    fleet.wait("ran", 21)  # what it had begun runs to its end
    second.stop()
    fleet.app.note.delay("last")
    time.sleep(1.2)
    assert len(fleet.lines("ran")) == 21
    assert first.process.poll() is None
    assert resume(broker, WORKER, node, ["celery", "other"])
    fleet.wait("ran", 22)
    assert set(fleet.count("ran").values()) == {1}
