"""How kombu's Redis transport keeps, orders, returns and forgets messages."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.transport.redis import Channel, Transport

from contract.laboratory import RedisServer, eventually

QUEUE = Queue("q", Exchange("q", type="direct"), routing_key="q")
SEP = "\x06\x16"


@contextmanager
def channel_to(server: RedisServer, **options: Any) -> Iterator[Channel]:
    with Connection(server.url(), transport_options=options) as connection:
        QUEUE(connection.default_channel).declare()
        yield connection.default_channel


@pytest.fixture
def channel(server: RedisServer) -> Iterator[Channel]:
    with channel_to(server) as channel:
        yield channel


def put(channel: Channel, *bodies: str, **properties: Any) -> None:
    for body in bodies:
        message = channel.prepare_message(body, properties=properties, content_type="text/plain")
        channel.basic_publish(message, exchange="q", routing_key="q")


def take(channel: Channel) -> Any:
    """The next message, as a consumer gets it, not acknowledged."""
    found: list[Any] = []
    tag = f"consumer-{time.monotonic()}"
    channel.basic_consume("q", no_ack=False, callback=found.append, consumer_tag=tag)
    with suppress(TimeoutError, Empty):
        channel.connection.drain_events(channel.connection, timeout=3)
    channel.basic_cancel(tag)
    return found[0] if found else None


def taken(channel: Channel, count: int) -> list[str]:
    return [take(channel).body.decode() for _ in range(count)]


def bodies(client: "redis.Redis", key: str = "q") -> list[str]:
    """What a queue holds, next first."""
    return [json.loads(each)["body"] for each in reversed(client.lrange(key, 0, -1))]  # type: ignore[arg-type]


def abandoned(server: RedisServer, count: int, **options: Any) -> None:
    """Leaves messages 1 to `count` in `unacked`, as a killed process does."""
    with channel_to(server, **options) as channel:
        put(channel, *map(str, range(1, count + 1)))
        for _ in range(count):
            take(channel)
            time.sleep(0.002)
        channel.qos._delivered.clear()
        channel.qos.restore_at_shutdown = False


def test_a_claimed_message_is_kept_as_json_of_message_exchange_and_routing_key(channel, client):
    """`unacked` is a hash by delivery tag, `unacked_index` the time of the claim. delivery keeps both formats."""
    put(channel, "1")
    message = take(channel)
    [(tag, entry)] = client.hgetall("unacked").items()
    assert tag == message.delivery_tag
    raw, exchange, routing_key = json.loads(entry)
    assert (raw["body"], exchange, routing_key) == (message._raw["body"], "q", "q")
    assert raw["properties"]["delivery_tag"] == tag
    assert abs(client.zscore("unacked_index", tag) - time.time()) < 60


def test_acknowledging_removes_the_claim(channel, client):
    """ZREM and HDEL by the tag. delivery.transport leaves it as it is."""
    put(channel, "1")
    take(channel).ack()
    assert not client.exists("unacked", "unacked_index")


def test_what_is_restored_comes_first_and_in_the_order_of_time(server, client):
    """The sweep pushes to the end that consumers pop from, youngest first. delivery.restore keeps this order."""
    abandoned(server, 3)
    with channel_to(server, visibility_timeout=0) as channel:
        put(channel, "new")
        channel.qos.restore_visible()
        assert bodies(client) == ["MQ==", "Mg==", "Mw==", "bmV3"]
        assert taken(channel, 4) == ["1", "2", "3", "new"]


def test_what_is_restored_is_marked_as_redelivered(server, client):
    """In the headers and the delivery info. Deduplication of successful tasks goes by it, so delivery sets it."""
    abandoned(server, 1)
    with channel_to(server, visibility_timeout=0) as channel:
        channel.qos.restore_visible()
        message = json.loads(client.lindex("q", 0))
        assert message["headers"]["redelivered"] is True
        assert message["properties"]["delivery_info"]["redelivered"] is True


def test_requeueing_goes_to_the_tail(channel, client):
    """`reject(requeue=True)` puts a message behind all others. delivery.transport leaves it as it is."""
    put(channel, "1", "2")
    take(channel).requeue()
    assert taken(channel, 2) == ["2", "1"]


def test_a_message_is_restored_to_nowhere_without_its_binding(server, client):
    """Restoring looks the queue up: without `_kombu.binding.<exchange>` the message vanishes, silently.

    Ended by delivery.giving, which knows the queue that the message came from.
    """
    abandoned(server, 1)
    client.delete("_kombu.binding.q")
    with Connection(server.url(), transport_options={"visibility_timeout": 0}) as connection:
        connection.default_channel.qos.restore_visible()
    assert not client.exists("unacked", "unacked_index", "q")


def test_a_message_is_not_swept_before_its_visibility_timeout(server, client):
    """An hour, unless the transport option says otherwise. delivery does not wait for it."""
    assert Channel.visibility_timeout == 3600
    abandoned(server, 1)
    with channel_to(server) as channel:
        channel.qos.restore_visible()
        assert client.hlen("unacked") == 1
    with channel_to(server, visibility_timeout=0) as channel:
        channel.qos.restore_visible()
        assert client.hlen("unacked") == 0


def test_a_sweep_looks_only_at_every_tenth_call(server, client):
    """With a call each 10 s, messages come back up to 100 s after their visibility timeout."""
    with channel_to(server, visibility_timeout=0) as channel:
        cycle = channel.connection.cycle
        cycle.on_poll_init(Mock())  # looks: nothing there
        abandoned(server, 1)
        channel.basic_consume("q", no_ack=False, callback=print, consumer_tag="c")
        calls = next(call for call in range(1, 20) if cycle.maybe_restore_messages() or client.llen("q"))
        assert calls == 10


def test_the_main_loop_sweeps_by_a_timer(server):
    """`unacked_restore_interval`, 10 s. delivery.transport sweeps nothing."""
    with channel_to(server) as channel:
        loop = Mock(on_tick=set())
        channel.connection.register_with_event_loop(channel.connection, loop)
        timers = {call.args[1].__name__: call.args[0] for call in loop.call_repeatedly.call_args_list}
        assert timers["maybe_restore_messages"] == 10


def test_the_options_of_claims_are_taken_from_the_transport_options():
    """Names of keys and times can differ by process: a producer or a pool with others does not see the same."""
    assert {
        "unacked_key",
        "unacked_index_key",
        "visibility_timeout",
        "priority_steps",
        "sep",
        "global_keyprefix",
        "socket_timeout",
        "health_check_interval",
        "client_name",
    } <= set(Channel.from_transport_options)
    assert Transport.Channel is Channel


def test_closing_a_channel_returns_what_it_holds(server, client):
    """All that was delivered and not acknowledged goes back: also what still runs when a connection is lost.

    delivery.custody keeps what runs on.
    """
    with channel_to(server) as channel:
        put(channel, "1")
        take(channel)
        assert client.llen("q") == 0
    assert client.llen("q") == 1
    assert not client.exists("unacked")


def test_the_keys_of_a_queue_are_one_list_for_each_step(channel, client):
    """0 to 2, 3 to 5, 6 to 8 and 9 share a list by default; priorities beyond are clamped. policy.priority."""
    for priority in range(11):
        put(channel, "x", priority=priority)
    assert channel.priority_steps == [0, 3, 6, 9]
    assert {key: client.llen(key) for key in sorted(client.keys("q*"))} == {
        "q": 3,
        f"q{SEP}3": 3,
        f"q{SEP}6": 3,
        f"q{SEP}9": 2,
    }


def test_priority_0_comes_first_and_none_is_0(server):
    """On Redis the lowest number wins, and a message without priority overtakes all. policy.routing gives each one."""
    with channel_to(server, priority_steps=list(range(10))) as channel:
        for priority in (9, 5, 0, 7):
            put(channel, str(priority), priority=priority)
        put(channel, "none")
        put(channel, "1", priority=1)
        assert taken(channel, 6) == ["0", "none", "1", "5", "7", "9"]


def test_priorities_that_the_consumer_has_no_step_for_are_stranded(server, client):
    """Steps that differ leave messages in lists that nobody reads, without a word. delivery.agreement refuses them."""
    with channel_to(server, priority_steps=list(range(10))) as producer:
        for priority in range(10):
            put(producer, str(priority), priority=priority)
    with channel_to(server) as consumer:
        assert taken(consumer, 4) == ["0", "3", "6", "9"]
        assert take(consumer) is None
        assert consumer._size("q") == 0
    assert sum(client.llen(key) for key in client.keys("q*")) == 6 + 4  # the four are back


def test_a_reply_that_is_overdue_drops_the_connection(own_server):
    """A frozen Redis is noticed by BRPOP's missing reply after its time-out and `health_check_interval`.

    policy.connection sets the interval; delivery.transport keeps `_brpop_sent_at` for it.
    """
    with channel_to(own_server, health_check_interval=1) as channel:
        channel.basic_consume("q", no_ack=False, callback=print, consumer_tag="c")
        cycle = channel.connection.cycle
        cycle.on_poll_start()
        reader = channel._in_poll
        own_server.signal(signal.SIGSTOP)

        def dropped() -> bool:
            cycle.maybe_check_brpop_health()
            return reader._sock is None

        eventually(dropped, "the end of the connection")
        assert channel.brpop_timeout == 1
        assert time.monotonic() - channel._brpop_sent_at >= 2
        own_server.signal(signal.SIGCONT)
        own_server.stop()
