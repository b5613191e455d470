"""What a dead node held goes back, message by message; leases decide who may do it."""

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from celery import Celery

from celery_fleet.delivery import parking
from celery_fleet.delivery.commands import ClientCommands
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.lease import Lease, NodeTaken, leases
from celery_fleet.delivery.ownership import Keeper, Policy
from celery_fleet.delivery.process import this_process
from celery_fleet.delivery.restore import Restored, Rules, clear_malformed, reap, restore, restore_node
from celery_fleet.delivery.scripts import FENCED
from integration.delivery.conftest import NODE, OPTIONS, Inbox, publish, url_of

UNACKED = f"unacked:{NODE}"
KEYS = Keys()
ELSEWHERE = replace(this_process(), machine="elsewhere", host="elsewhere", pid=7)


@pytest.fixture
def commands(client):
    return ClientCommands(client)


@pytest.fixture
def claimed(connect, client):
    """claimed(names of queues, ...) has the node hold a message of each, as a process that was killed."""

    connection = connect()

    def claim(*names, **headers):
        for number, name in enumerate(names):
            publish(connection, name, number, headers={"id": f"id{number}", "task": "t", **headers})
            channel = connection.default_channel
            script, keys, arguments = channel._claim((name,))
            assert channel.wire.run(script, keys, *arguments)

    return claim


def bodies(client, key):
    """In the order in which they will be taken."""
    found = [json.loads(raw) for raw in reversed(client.lrange(key, 0, -1))]
    return [message["headers"]["id"] for message in found]


def test_all_go_back_to_the_heads_of_their_queues_in_order(claimed, client, connect):
    claimed("a", "a", "b", "a")
    publish(connect(), "a", "later", headers={"id": "later"})
    assert restore(client, NODE) == Restored(4, 0)
    assert bodies(client, "a") == ["id0", "id1", "id3", "later"]
    assert bodies(client, "b") == ["id2"]
    assert not client.exists(UNACKED, f"unacked_index:{NODE}")
    first = json.loads(client.lindex("a", -1))
    assert first["headers"]["redelivered"]
    assert first["headers"]["fleet_lost"] == 1
    assert first["properties"]["delivery_info"]["redelivered"]
    assert client.llen("fleet:wake:a") > 0


def test_more_than_one_chunk_keeps_its_order(claimed, client):
    claimed(*["a"] * 230)
    assert restore(client, NODE).returned == 230
    assert bodies(client, "a") == [f"id{number}" for number in range(230)]


def test_what_kombu_recorded_itself_goes_back(client, connect):
    publish(connect("stock"), "q", "x")
    inbox = Inbox(connect("stock"), "q")
    inbox.drain(1)
    inbox.channel.qos._delivered.clear()
    client.delete("_kombu.binding.q")
    assert restore(client, NODE).returned == 1
    assert client.llen("q") == 1


def test_a_task_that_was_lost_too_often_is_set_aside_before_it_is_removed(claimed, client):
    claimed("a", "a", fleet_lost=2)
    told = []

    def set_aside(message, reason, queue):
        assert client.hlen(UNACKED) == 2
        told.append((json.loads(message)["headers"]["id"], reason, queue))

    assert restore(client, NODE, Rules(limit=lambda *_: 3, set_aside=set_aside)) == Restored(0, 2)
    assert sorted(told) == [("id0", "poison", "a"), ("id1", "poison", "a")]
    assert client.llen("a") == 0


def test_what_cannot_be_set_aside_stays(claimed, client):
    claimed("a", fleet_lost=9)

    def set_aside(message, reason, queue):
        raise redis.ConnectionError("away")

    with pytest.raises(redis.ConnectionError):
        restore(client, NODE, Rules(set_aside=set_aside))
    assert client.hlen(UNACKED) == 1


def test_what_is_due_later_is_parked_and_no_death_is_counted(claimed, client):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    near = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    claimed("a", eta=near)
    raw = client.hvals(UNACKED)[0]
    client.hset(UNACKED, client.hkeys(UNACKED)[0], raw.replace(near.encode(), later.encode()))
    assert restore(client, NODE).returned == 1
    assert client.llen("a") == 0
    (waiting,) = parking.parked(client)
    assert (waiting.queue, waiting.task_id, waiting.name) == ("a", "id0", "t")
    assert "fleet_lost" not in waiting.message["headers"]
    assert parking.count_parked(client) == {"a": 1}


def test_an_entry_that_cannot_be_read_becomes_malformed_and_then_a_letter(client, commands):
    client.hset(UNACKED, "tag", b"{\xff")
    assert restore(client, NODE) == Restored(0, 1)
    told = []
    assert clear_malformed(commands, KEYS, lambda *letter: told.append(letter)) == 1
    assert told == [("{\udcff", "undecodable", "")]
    assert client.llen("fleet:malformed") == 0


def test_a_malformed_entry_stays_until_its_letter_is_written(client, commands):
    client.lpush("fleet:malformed", '"q"\n{')

    def fail(*letter):
        raise redis.ConnectionError("away")

    with pytest.raises(redis.ConnectionError):
        clear_malformed(commands, KEYS, fail)
    assert client.llen("fleet:malformed") == 1


def test_parked_messages_move_when_they_are_due_the_earliest_first(client, commands, connect):
    now = time.time()
    for number, delay in enumerate((30, 20, 40)):
        eta = datetime.fromtimestamp(now + delay, UTC).isoformat()
        publish(connect(), "q", number, headers={"id": f"id{number}", "eta": eta})
    assert parking.move_due(commands, KEYS, now) == 0
    assert parking.move_due(commands, KEYS, now + 28.5) == 2
    assert bodies(client, "q") == ["id1", "id0"]
    assert parking.move_due(commands, KEYS, now + 28.5) == 0
    assert parking.unpark_all(client) == 1
    assert client.llen("q") == 3


def test_a_worker_parks_what_a_stock_producer_sent(client, connect):
    publish(connect("stock"), "q", "x", headers={"id": "i", "eta": "2999-01-01T00:00:00+00:00"})
    inbox = Inbox(connect(), "q")
    assert inbox.drain(1, patience=1.0) == []
    assert not client.exists(UNACKED)
    assert client.zcard("fleet:parked") == 1


def test_a_lease_that_nobody_has(commands, client):
    lease = Lease(commands, KEYS, NODE)
    lease.acquire(watched=60)
    (found,) = leases(client)
    assert (found.node, found.token, found.pid, found.beat) == (NODE, lease.token, this_process().pid, 0)
    lease.refresh(2)
    assert leases(client)[0].beat == 1
    assert lease.release()
    assert leases(client) == []


def test_the_lease_of_a_process_that_is_gone_is_taken_at_once(commands):
    here = replace(this_process(), machine="m", boot="b", pidns="n")
    for gone in (replace(here, pid=2**22 + 1), replace(here, boot="earlier")):
        Lease(commands, KEYS, NODE, gone).acquire(watched=0)
        begun = time.monotonic()
        Lease(commands, KEYS, NODE, here).acquire(watched=60)
        assert time.monotonic() - begun < 5


def test_a_silent_lease_of_elsewhere_is_taken_after_a_while(commands):
    Lease(commands, KEYS, NODE, ELSEWHERE).acquire()
    begun = time.monotonic()
    Lease(commands, KEYS, NODE).acquire(watched=0.5)
    assert time.monotonic() - begun >= 0.5


def test_a_lease_that_beats_is_refused(commands):
    other = Lease(commands, KEYS, NODE, ELSEWHERE)
    other.acquire()
    threading.Timer(0.3, other.refresh, (2,)).start()
    with pytest.raises(NodeTaken, match="process 7 on host elsewhere"):
        Lease(commands, KEYS, NODE).acquire(watched=30)


def test_who_was_replaced_may_neither_refresh_nor_claim_nor_give_back(commands, claimed, client, connect):
    old = Lease(commands, KEYS, NODE, ELSEWHERE)
    old.acquire()
    claimed("a")
    channel = connect().default_channel
    channel.custody.token = old.token
    Lease(commands, KEYS, NODE).acquire(watched=0)
    tag = client.hkeys(UNACKED)[0].decode()
    try:
        script, keys, arguments = channel._claim(("a",))
        for attempt in (
            lambda: old.refresh(2),
            lambda: channel.wire.run(script, keys, *arguments),
            lambda: channel.giver.back([tag], "head"),
        ):
            with pytest.raises(redis.ResponseError, match=FENCED):
                attempt()
    finally:
        channel.custody.token = ""
    assert not old.release()
    with pytest.raises(redis.ResponseError, match=FENCED):
        restore_node(commands, KEYS, old, Rules())
    assert client.hlen(UNACKED) == 1


def test_a_lease_that_redis_forgot_is_taken_up_again(commands, client):
    lease = Lease(commands, KEYS, NODE)
    lease.acquire()
    client.flushdb()
    lease.refresh(2)
    assert [found.node for found in leases(client)] == [NODE]


def test_only_one_reaps_and_a_node_that_moved_is_left_alone(commands, claimed, client):
    dead = Lease(commands, KEYS, NODE, ELSEWHERE)
    dead.acquire()
    claimed("a", "a")
    (seen,) = leases(client)
    dead.refresh(2)
    assert reap(commands, KEYS, seen, Rules()) is None
    (seen,) = leases(client)
    assert reap(commands, KEYS, seen, Rules()) == Restored(2, 0)
    assert reap(commands, KEYS, seen, Rules()) is None
    assert leases(client) == []
    with pytest.raises(redis.ResponseError, match=FENCED):
        dead.refresh(2)
    Lease(commands, KEYS, NODE).acquire(watched=60)


def test_an_operator_is_told_of_a_node_that_cannot_be_taken(commands, client, claimed, monkeypatch):
    """Its process shows a sign of life each time that the lease was read, before it is taken."""
    living = Lease(commands, KEYS, NODE, ELSEWHERE)
    living.acquire()
    claimed("a")
    take = Lease.take

    def late(self, holder):
        living.refresh(2)
        return take(self, holder)

    monkeypatch.setattr(Lease, "take", late)
    with pytest.raises(NodeTaken, match=NODE):
        restore(client, NODE)
    assert client.hlen(f"unacked:{NODE}") == 1


def test_a_lease_stays_while_messages_are_held(commands, claimed):
    lease = Lease(commands, KEYS, NODE)
    lease.acquire()
    claimed("a")
    assert not lease.release()


def test_what_was_claimed_and_never_read_comes_back_while_the_worker_lives(claimed, client, redis_server):
    """The connection broke between the claim and its answer; only Redis knows that the process has the message."""
    app = Celery(set_as_current=False, broker=url_of(redis_server))
    app.conf.broker_transport_options = OPTIONS
    keeper = Keeper(app, Policy(NODE, 60, Rules()))
    keeper.acquire()
    claimed("a", "a")
    lost, read = (tag.decode() for tag in client.zrange(f"unacked_index:{NODE}", 0, -1))
    keeper.custody.keep({read: None})
    try:
        for later, held in (
            (0, 2),
            (0, 2),
            (10, 2),
            (10, 1),
        ):  # young ones are left alone; others are seen twice
            keeper._strays_looked = 0.0
            keeper._return_strays(time.time() + later)
            assert client.hlen(UNACKED) == held
        assert client.hkeys(UNACKED) == [read.encode()]
        assert bodies(client, "a") == ["id0"]
        assert lost not in keeper.custody.known()
    finally:
        keeper.custody.limbo.clear()
        keeper.custody.token = ""
        app.close()
