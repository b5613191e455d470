"""The Redis transport of kombu, with a claim that is one step: popped and recorded, or still in its queue.

A message is in a queue, in `unacked` of the node that has it, or parked; no crash finds it between them. Nothing is
swept by time: what a node holds is its own until it says so, or is dead (see `ownership`).
"""

import json
import logging
import re
from contextlib import suppress
from functools import cache
from queue import Empty
from threading import get_ident
from time import monotonic, time
from typing import Any

from celery.worker import state as celery_state
from kombu.transport import TRANSPORT_ALIASES, _transport_cache, virtual
from kombu.transport import redis as stock
from kombu.utils.compat import detect_environment
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps
from kombu.utils.json import loads as loads_typed
from redis.exceptions import NoScriptError, ResponseError

from . import agreement
from .custody import Custody, custody_of
from .envelope import is_far, parked_member, task_id
from .giving import Giver, Holding, Place
from .keys import Keys
from .pausing import QUEUE, WORKER, field, pool_of
from .pending import note
from .scripts import ACK, CLAIM, FENCED, PARK, PUT, RING, TAKE, Script
from .wire import LOST, Wire

log = logging.getLogger(__name__)

_stock: Any = stock
_base_qos: Any = virtual.QoS
_text: Any = bytes_to_str
_dumps: Any = dumps
_loads_typed: Any = loads_typed
_environment: Any = detect_environment

_TAG = re.compile(r'"delivery_tag"\s*:\s*"([^"\\]+)"')

_CACHED = 1.0
"""Seconds for which a route that this connection declared itself is not looked up again."""


@cache
def _green() -> bool:
    """Whether greenlets acknowledge while the main one waits; a thread must not touch the connection of another."""
    return bool(_environment() != "default")


def use() -> None:
    """Puts this transport in the place of kombu's own, for the same URLs."""
    name = f"{__name__}:Transport"
    TRANSPORT_ALIASES.update({"redis": name, "rediss": name, "sentinel": f"{__name__}:SentinelTransport"})
    for alias in ("redis", "rediss", "sentinel"):
        _transport_cache.pop(alias, None)


def loads(text: str) -> Any:
    """As kombu reads JSON, whose hook costs much and is needed for typed values only. Raises ValueError, RecursionError."""
    if '"__type__"' in text:
        with suppress(Exception):  # of a type that there is not, or no value of it: it is what it looks like
            return _loads_typed(text)
    return json.loads(text)


class QoS(_stock.QoS):  # type: ignore[misc]
    """What a channel has delivered. The claim has recorded it; its settlement survives the connection."""

    def append(self, message: Any, delivery_tag: str) -> None:
        _base_qos.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self.settle(delivery_tag, requeue=False)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self.settle(delivery_tag, requeue)

    def settle(self, tag: str, requeue: bool) -> None:
        channel = self.channel
        if channel.closed:
            custody: Custody = channel.custody
            heir = custody.channel()
            if heir is None:
                custody.owe(tag, requeue)
            else:
                heir.qos.settle(tag, requeue)
            return
        self._quick_ack(tag)
        if not requeue and channel.will_claim():
            channel.acknowledge_with_claim(tag)
            return
        channel.settle(tag, requeue)
        channel.ask_again()

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ARG002
        self._flush()
        messages = dict(self._delivered)
        self._delivered.clear()
        custody: Custody = self.channel.custody
        if custody.running is not None:
            custody.running.note()
            custody.keep(messages)
            return
        try:
            self.channel.giver.back(list(messages), Place.HEAD)
        except LOST:
            log.warning("%d messages go back to their queues when the node starts again", len(messages))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: ARG002
        self.channel.giver.back([_text(tag)], Place.TAIL if leftmost else Place.HEAD)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Time decides nothing."""


class Channel(_stock.Channel):  # type: ignore[misc]
    """A channel whose consumers claim atomically and whose producers wake them."""

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._no_ack: set[str] = set()
        self._found_nothing: tuple[str, ...] | None = None
        self._paused: frozenset[str] = frozenset()
        self._drained = False
        self._waits = False
        self._plain = False
        self._script_unknown = False
        self._claims: dict[tuple[str, ...], Any] = {}
        self._acks: list[str] = []
        self._acks_sent: list[str] = []
        self._order: tuple[str, ...] = ()
        self._routes: dict[tuple[str, str], tuple[float, Any]] = {}
        super().__init__(*args, **kwargs)
        self.wire = Wire(lambda: self.pool)
        self.keys = Keys(self.global_keyprefix)
        self.custody = custody_of(self.unacked_key)
        self.holding = Holding(
            self.global_keyprefix + self.unacked_key,
            self.global_keyprefix + self.unacked_index_key,
            self.keys.owner(self.unacked_key.removeprefix("unacked:")),
            lambda: self.custody.token,
        )
        self.giver = Giver(self.wire, self.keys, self.priority_steps, self.holding)

    # -- producing

    def _lookup(self, exchange: str, routing_key: str, default: Any = None) -> Any:
        route = exchange, routing_key
        known = self._routes.get(route)
        if known and monotonic() - known[0] < _CACHED:
            return known[1]
        found = super()._lookup(exchange, routing_key, default)
        own = self._declared(exchange, routing_key) if exchange else set()
        if own:
            if not own <= set(found):  # the bindings were deleted from Redis; the message must not vanish
                for queue in own:
                    self._queue_bind(
                        exchange, *self.typeof(exchange).prepare_bind(queue, exchange, routing_key, None)
                    )
                found = set(found) | own
            self._routes[route] = monotonic(), found
        return found

    def _declared(self, exchange: str, routing_key: str) -> set[str]:
        """The queues that this connection itself has bound to a direct exchange."""
        if self.typeof(exchange).type != "direct":
            return set()
        return {
            binding.queue
            for binding in self.state.bindings
            if binding.exchange == exchange and binding.routing_key == routing_key
        }

    def _put(self, queue: str, message: Any, _publish_batch: Any = None, **_: Any) -> None:
        agreement.check(self)
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        payload = _dumps(message)
        expires = self._expires.get(queue)
        prefix, headers, now = self.global_keyprefix, message.get("headers"), time()
        far = is_far(headers, now)
        if expires is not None:
            far = None
        task = task_id(headers)
        where = note(key, far, now) if task else ""
        if _publish_batch is not None and task:
            # Before the message: a worker that takes it at once removes the note.
            _publish_batch.add("hset", self.keys.pending[len(prefix) :], task, where)
        if far is not None:
            member = parked_member(queue, key, payload)
            if _publish_batch is not None:
                _publish_batch.add("zadd", self.keys.parked[len(prefix) :], {member: far})
            elif task:
                self.wire.run(PARK, 0, self.keys.parked, far, member, self.keys.pending, task, where)
            else:
                self.wire.call("ZADD", self.keys.parked, far, member)
            return
        noted = payload, self.keys.pending, task, where
        if _publish_batch is not None:
            _publish_batch.add("lpush", key, payload)
            _publish_batch.add("eval", RING.text, 1, self.keys.wake(queue))
            for step in self.priority_steps if expires is not None else ():
                _publish_batch.add("pexpire", self._q_for_pri(queue, step), expires)
        elif expires is None:
            self.wire.run(PUT, 2, prefix + key, self.keys.wake(queue), *noted)
        else:
            lists = [prefix + self._q_for_pri(queue, step) for step in self.priority_steps]
            self.wire.run(PUT, 2 + len(lists), prefix + key, self.keys.wake(queue), *lists, *noted, expires)

    # -- consuming

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        self._claims.clear()
        self._found_nothing = None
        if not no_ack:
            self.custody.add(self)
        result = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if queue not in self.active_fanout_queues:
            self.connection._callbacks[queue] = self._receiver(queue, no_ack, callback)
        return result

    def _receiver(self, queue: str, no_ack: bool, callback: Any) -> Any:
        def receive(payload: Any) -> Any:
            try:
                message = self.Message(payload, channel=self)
            except Exception:
                log.exception("A message that cannot be decoded is set aside")
                if not no_ack:
                    self.giver.back([payload["properties"]["delivery_tag"]], Place.MALFORMED)
                return None
            if not isinstance(message.delivery_info, dict):
                message.delivery_info = {"exchange": "", "routing_key": queue}
            if not no_ack:
                self.qos.append(message, message.delivery_tag)
            return callback(message)

        return receive

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = tuple(self._queue_cycle.consume(len(self.active_queues)))
        if not queues:
            return
        self._plain = self._no_ack.issuperset(queues)
        if self._plain:  # nothing to record: who crashes wants no answer any more
            self._acknowledge_now()
            super()._brpop_start(timeout)
            return
        client = self.client.connection
        self._in_poll = client
        self._brpop_sent_at = monotonic()
        self._waits = (
            not self._acks
            and self._found_nothing is not None
            and self._found_nothing == tuple(sorted(queues))
        )
        if self._waits:
            client.send_command(
                "BLPOP", *self._wakes(queues), (self.brpop_timeout if timeout is None else timeout) or 0
            )
        else:
            self._send_claim(client, queues)

    def _wakes(self, queues: tuple[str, ...]) -> list[str]:
        """What an idle consumer listens to: not to what is sent to queues that it may not take from."""
        if self._drained:
            return [self.keys.resumed(own) for own in self._own_fields()]
        return [
            self.keys.resumed(field(QUEUE, queue)) if queue in self._paused else self.keys.wake(queue)
            for queue in queues
        ]

    def _own_fields(self) -> tuple[str, str]:
        """The marks that drain this worker."""
        node = self.unacked_key.removeprefix("unacked:")
        return field(WORKER, node), field(WORKER, pool_of(node))

    def _send_claim(self, client: Any, queues: tuple[str, ...]) -> None:
        self._order = queues
        acks: list[bytes] = []
        if self._acks:
            held = self.holding
            self._acks_sent, self._acks = self._acks, []
            acks = client.pack_command("EVALSHA", ACK.sha, 2, held.unacked, held.index, *self._acks_sent)
        if self._script_unknown:
            script, keys, arguments = self._claim(queues)
            client.send_packed_command([*acks, *client.pack_command("EVAL", script.text, keys, *arguments)])
            return
        packed = self._claims.get(queues)
        if packed is None:
            script, keys, arguments = self._claim(queues)
            packed = client.pack_command("EVALSHA", script.sha, keys, *arguments)
            if len(self._claims) > 64:
                self._claims.clear()
            self._claims[queues] = packed
        client.send_packed_command([b"".join((*acks, *packed))] if acks else packed)

    def _claim(self, queues: tuple[str, ...]) -> tuple[Script, int, list[Any]]:
        """The claim's script, the number of its keys, and its arguments. Priorities first, then queues."""
        prefix = self.global_keyprefix
        wakes = [self.keys.wake(queue) for queue in queues]
        lists = [
            (prefix + self._q_for_pri(queue, step), queue) for step in self.priority_steps for queue in queues
        ]
        names = [name for name, _ in lists]
        if self._no_ack.issuperset(queues):
            return TAKE, len(wakes) + len(names), [*wakes, *names, len(wakes)]
        entries = ["" if queue in self._no_ack else json.dumps(queue) for _, queue in lists]
        holding = self.holding
        held = [holding.unacked, holding.index, holding.owner]
        marks = [self.keys.cancelled, self.keys.malformed, self.keys.pending, self.keys.paused]
        keys = [*held, *marks, *wakes, *names]
        own = self.keys.resumed(""), *self._own_fields()
        return CLAIM, len(keys), [*keys, self.custody.token, len(wakes), *own, *entries]

    def _brpop_read(self, **options: Any) -> bool:
        if self._plain:
            return bool(super()._brpop_read(**options))
        client = self.client.connection
        try:
            reply = self._reply(client)
            woken = ""
            if self._waits:
                self._found_nothing = None
                if not reply:
                    raise Empty
                woken = _text(reply[0])
                self._waits = False
                self._send_claim(client, tuple(self._queue_cycle.consume(len(self.active_queues))))
                reply = self._reply(client)
            for_all = woken if woken.startswith(self.keys.wake("")) else ""
            if reply is None or reply[0] < -1:
                self._nothing_for_now(reply)
                if self._drained and for_all:
                    self.wire.run_again(RING, 1, for_all)
                raise Empty
            if reply[0] == -1:
                raise Empty
            queue = self._order[reply[0] % len(self._order)]
            if for_all and for_all != self.keys.wake(queue):  # what it was woken for is left to another
                self.wire.run_again(RING, 1, for_all)
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._queue_cycle.rotate(queue)
        return self._hand_over(queue, reply[1], bool(reply[2]))

    def _nothing_for_now(self, reply: Any) -> None:
        """The next turn waits, and for this."""
        self._found_nothing = tuple(sorted(self._order))
        self._drained = reply is not None and reply[0] == -3
        idle = reply[1:] if reply is not None else ()
        self._paused = frozenset(queue for queue, paused in zip(self._order, idle, strict=False) if paused)

    def _reply(self, client: Any) -> Any:
        try:
            if self._acks_sent:
                self._read_acknowledgement(client)
            reply = client.read_response()
        except NoScriptError:
            self._script_unknown = True
            raise Empty from None
        except ResponseError as error:
            if str(error).startswith(FENCED):
                raise Fenced(str(error)) from error
            raise
        except self.connection_errors:
            # so that the next iteration connects again
            self.custody.suspicious = True
            self._owe_acks()
            client.disconnect()
            raise
        self._script_unknown = False
        return reply

    def _read_acknowledgement(self, client: Any) -> None:
        try:
            client.read_response()
        except ResponseError:  # whatever it is, a script that is unknown or a server that is read-only
            self._owe_acks()
        self._acks_sent = []

    def _on_connection_disconnect(self, connection: Any) -> None:
        if self._in_poll is connection and not self._waits and not self._plain:
            self.custody.suspicious = True
        if self._acks_sent:
            self._owe_acks()
        super()._on_connection_disconnect(connection)

    def _hand_over(self, queue: str, raw: bytes, cancelled: bool) -> bool:
        no_ack = queue in self._no_ack
        payload = self._read(raw)
        if payload is None:
            return False
        if queue not in self.connection._callbacks or self._closing:
            self._decline(queue, raw, payload, no_ack)
            return False
        if not no_ack:
            headers = payload.get("headers")
            if cancelled:
                celery_state.revoked.add(headers["id"])
            elif is_far(headers, time()) is not None:
                self.giver.back([payload["properties"]["delivery_tag"]], Place.HEAD)  # it is parked
                return False
        self.connection._deliver(payload, queue)
        return True

    def _read(self, raw: bytes) -> Any:
        """The message, or None: Redis reads more than JSON has, such as 0x10 for a number. That is set aside."""
        try:
            return loads(_text(raw))
        except (ValueError, RecursionError):
            log.warning("A message that is no JSON is set aside")
            tags = _TAG.findall(raw.decode(errors="replace"))
            self.giver.back(list(dict.fromkeys(tags)), Place.MALFORMED)
            return None

    def _decline(self, queue: str, raw: bytes, payload: Any, no_ack: bool) -> None:
        """Nobody consumes from the queue any more: the message goes back to where it was."""
        if no_ack:
            key = self.global_keyprefix + self._q_for_pri(queue, self._get_message_priority(payload))
            self.wire.call("RPUSH", key, raw)
        else:
            self.giver.back([payload["properties"]["delivery_tag"]], Place.HEAD)

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:
        was = queue in self._no_ack
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        try:
            script, keys, arguments = self._claim((queue,))
        finally:
            (self._no_ack.add if was else self._no_ack.discard)(queue)
        reply = self.wire.run(script, keys, *arguments)
        if not reply or reply[0] < 0:
            return None
        payload = self._read(reply[1])
        if payload is None:
            return None
        message = self.Message(payload, channel=self)
        if not no_ack:
            self.custody.add(self)
            self.qos.append(message, message.delivery_tag)
        return message

    # -- settling

    def settle(self, tag: str, requeue: bool) -> None:
        """Acknowledges a message or gives it back. Without a connection it is owed, and never lost or run again."""
        try:
            if requeue:
                self.giver.back([tag], Place.TAIL)
            else:
                self.giver.acknowledge(tag)
        except LOST:
            log.warning("The broker is away: a message is acknowledged when it is back")
            self.custody.owe(tag, requeue)

    def will_claim(self) -> bool:
        """Whether the event loop, in whose thread this runs, sends a claim before it waits again."""
        return (
            self.connection.looped_by == get_ident()
            and not self._in_poll
            and not self._closing
            and not self._plain
            and bool(self._active_queues)
            and self.qos.can_consume()
        )

    def acknowledge_with_claim(self, tag: str) -> None:
        """One round trip less: the claim that follows at once takes the acknowledgement with it."""
        self._acks.append(tag)

    def _acknowledge_now(self) -> None:
        """No claim follows after all."""
        tags, self._acks = self._acks, []
        for tag in tags:
            self.settle(tag, requeue=False)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        self._acknowledge_now()
        return super()._basic_cancel(consumer_tag)

    def _owe_acks(self) -> None:
        for tag in self._acks + self._acks_sent:
            self.custody.owe(tag, requeue=False)
        self._acks, self._acks_sent = [], []

    def ask_again(self) -> None:
        """Credit is back: a main greenlet that waits for its sockets would not notice before its time is over."""
        cycle = self.connection.cycle
        if cycle._in_protected_read and _green() and self.active_queues and self.qos.can_consume():
            cycle._register_BRPOP(self)

    def adopt(self) -> None:
        """Takes over what the process held under its last connection: the tasks that run on stay its own."""
        self.custody.add(self)
        self.giver.pay(self.custody)
        kept, others = self.custody.resolve()
        for tag, message in kept.items():
            message.channel = self
            self.qos._quick_append(tag, message)
        try:
            self.giver.back(others, Place.HEAD)
        except LOST:
            self.custody.keep(dict.fromkeys(others))
            raise
        if kept or others:
            log.info(
                "Connected again: %d tasks run on, %d messages went back to their queues",
                len(kept),
                len(others),
            )

    # -- life

    def _after_fork(self) -> None:
        self.wire.forget()
        super()._after_fork()

    def close(self) -> None:
        self._closing = True
        if not self.closed:
            self._acknowledge_now()
        if self._in_poll and self._waits and not self._plain:  # only a token would be read
            self._in_poll.disconnect()
            self._in_poll = None
        if self._in_poll:
            # What a claim took goes back below; one whose answer is never read is given back by the keeper, as a stray.
            with suppress(Empty, ResponseError, *LOST):
                self._brpop_read()
        self._owe_acks()
        was_closed = self.closed
        if not was_closed and self._qos is not None:
            self._qos.restore_unacked_once()
        super().close()
        if not was_closed:
            self.wire.close()


class Fenced(Exception):  # noqa: N818
    """The process no longer owns its node."""


class Transport(_stock.Transport):  # type: ignore[misc]
    """For redis:// and rediss://."""

    Channel = Channel
    looped_by: int | None = None
    """The thread whose event loop drives this connection, if one does."""

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.looped_by = get_ident()
        super().register_with_event_loop(connection, _Loop(loop))


class _Loop:
    """An event loop that is not told on each turn what it knows: kombu would register each socket anew."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        if self._loop.readers.get(fd) != (callback, args):
            self._loop.add_reader(fd, callback, *args)


class SentinelChannel(_stock.SentinelChannel, Channel):  # type: ignore[misc]
    """`Channel`, with the master found by Sentinel."""


class SentinelTransport(_stock.SentinelTransport, Transport):  # type: ignore[misc]
    """For sentinel://."""

    Channel = SentinelChannel
