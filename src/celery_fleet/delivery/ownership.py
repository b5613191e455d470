"""A worker owns its node: it takes the name, puts back what an earlier process held, and looks after the dead."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.signals import worker_shutdown
from redis.exceptions import ResponseError

from celery_fleet.store.connection import broker_client

from . import agreement
from .commands import ClientCommands
from .control import listen_on
from .custody import Custody, custody_of
from .giving import Giver, Holding, Place
from .keys import SEPARATOR, Keys, unacked_key
from .lease import Lease, NodeTaken, list_leases
from .parking import AHEAD, move_due
from .pending import tidy
from .reaper import Observer
from .restore import Rules, clear_malformed, reap, restore_node
from .running import Running, keep_begun_jobs
from .scripts import FENCED

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between signs of life."""

_GAP = 5.0
_TIDY_PERIOD = 10.0
_STRAY_AGE = 3.0
"""Seconds after a claim by which its answer has been read, if it ever is."""


@dataclass(frozen=True)
class Policy:
    """What the topology says about recovery."""

    node: str
    recovery_timeout: float
    rules: Rules


class Ownership(bootsteps.StartStopStep):  # type: ignore[misc]
    """Consumer bootstep: the node is owned before the worker consumes, and stays so until it has stopped."""

    requires = ("celery.worker.consumer.connection:Connection",)
    label = "Ownership"
    policy: Policy

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._keeper: Keeper | None = None
        self._running = Running(consumer.controller)
        consumer.ensure_connected = _often(consumer.ensure_connected)
        listen_on()

    @classmethod
    def by(cls, policy: Policy) -> type["Ownership"]:
        return type(cls.__name__, (cls,), {"policy": policy})

    def start(self, consumer: Any) -> None:
        if self._keeper is None:
            self._own(consumer)
        channel = consumer.connection.default_channel
        channel.adopt()
        self._running.occupy_slots()

    def shutdown(self, consumer: Any) -> None:  # noqa: ARG002
        """The pool has stopped; what the connection still holds goes back when it is closed, which is next."""
        if self._keeper is not None:
            self._keeper.custody.running = None

    def _own(self, consumer: Any) -> None:
        keep_begun_jobs(consumer.pool)
        keeper = Keeper(consumer.app, self.policy)
        try:
            keeper.acquire()
        except (NodeTaken, agreement.Disagreement) as error:
            log.critical("The worker does not start: %s", error)
            raise WorkerShutdown(1) from error
        keeper.custody.running = self._running
        keeper.begin()
        worker_shutdown.connect(keeper.on_shutdown, weak=False)
        self._keeper = keeper


def _often(ensure_connected: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Tries each few seconds, however long the broker is away; kombu's pauses grow to half a minute."""

    def ensure(connection: Any) -> Any:
        pauses = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
        connection.ensure_connection = partial(connection.ensure_connection, **pauses)
        return ensure_connected(connection)

    return ensure


class Keeper:
    """Keeps the lease of this process from a thread of its own, by a connection of its own."""

    def __init__(self, app: Any, policy: Policy) -> None:
        options: Mapping[str, Any] = app.conf.broker_transport_options
        self._policy = policy
        self._client = broker_client(app)
        self._commands = ClientCommands(self._client)
        self._keys = keys = Keys.of(options)
        self._terms = agreement.terms(
            options.get("priority_steps", [0, 3, 6, 9]), options.get("sep", SEPARATOR), keys.prefix
        )
        self.lease = Lease(self._commands, keys, policy.node)
        self.custody: Custody = custody_of(unacked_key(policy.node))
        self._holding = Holding(
            keys.unacked(policy.node),
            keys.unacked_index(policy.node),
            keys.owner(policy.node),
            lambda: self.lease.token,
        )
        self._giver = Giver(self._commands, keys, policy.rules.steps, self._holding)
        self._observer = Observer(policy.node, policy.recovery_timeout, _GAP + 3 * self._period())
        self._looked = 0.0
        self._tidied, self._tidy_cursor = time.monotonic(), 0
        self._strays: set[str] = set()
        self._strays_looked = 0.0
        self._silent = False
        self._ended = threading.Event()

    def acquire(self) -> None:
        """Raises NodeTaken, Disagreement, and what a lost connection raises."""
        agreement.agree(self._commands, self._keys, self._terms)
        self.lease.acquire()
        self.custody.token = self.lease.token
        restore_node(self._commands, self._keys, self.lease, self._policy.rules)

    def begin(self) -> None:
        threading.Thread(target=self._run, name="fleet-ownership", daemon=True).start()

    def end(self) -> None:
        """The worker has stopped. Its lease goes, unless it could not give back all that it had."""
        self._ended.set()
        try:
            self._giver.pay(self.custody)
            if not self.lease.release():
                log.warning(
                    "Messages are still held by %s: they go back when it starts again", self.lease.node
                )
        except redis.RedisError as error:
            log.warning("The lease of %s stays, for the broker is away: %s", self.lease.node, error)

    def on_shutdown(self, **_: object) -> None:
        """Receiver of `worker_shutdown`."""
        if not self._ended.is_set():
            self.end()

    def beat(self) -> None:
        """One round: a sign of life, then what is to be done for others."""
        refreshed = self.lease.refresh(AHEAD)
        if self._silent:
            self._silent = False
            log.info("The broker answers again")
        self._giver.pay(self.custody)
        if refreshed.due:
            move_due(self._commands, self._keys, refreshed.now)
        if refreshed.malformed and self._policy.rules.set_aside is not None:
            clear_malformed(self._commands, self._keys, self._policy.rules.set_aside)
        self._return_strays(refreshed.now)
        if time.monotonic() - self._looked >= self._period():
            self._looked = time.monotonic()
            self._reap()
        if time.monotonic() - self._tidied >= _TIDY_PERIOD:
            self._tidied = time.monotonic()
            self._tidy_cursor = tidy(self._commands, self._keys, self._tidy_cursor)

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.beat()
            except ResponseError as error:
                if str(error).startswith(FENCED) and not self._ended.is_set():
                    log.critical("Another process has taken over %s: this one ends at once", self.lease.node)
                    logging.shutdown()
                    os._exit(1)
                log.exception("The lease of %s could not be refreshed", self.lease.node)
                self._observer.forget()
            except (redis.RedisError, OSError) as error:
                self._observer.forget()
                if not self._silent:
                    self._silent = True
                    log.warning("The broker does not answer: %s", error)
            except Exception:
                log.exception("The keeper of %s goes on", self.lease.node)

    def _period(self) -> float:
        return min(5.0, max(BEAT, self._policy.recovery_timeout / 10))

    def _reap(self) -> None:
        for dead in self._observer.look(list_leases(self._commands, self._keys), time.monotonic()):
            log.warning("Node %s is dead: process %s on host %s is silent", dead.node, dead.pid, dead.host)
            reap(self._commands, self._keys, dead, self._policy.rules)

    def _return_strays(self, now: float) -> None:
        """Gives back what was claimed by a connection that broke before the answer was read."""
        pause = BEAT if self.custody.suspicious or self._strays else 5.0
        if time.monotonic() - self._strays_looked < pause:
            return
        self._strays_looked = time.monotonic()
        held = self._commands.call("ZRANGEBYSCORE", self._holding.index, "-inf", now - _STRAY_AGE)
        unknown = {tag.decode() for tag in held} - self.custody.known()
        strays = [tag for tag in (each.decode() for each in held) if tag in unknown and tag in self._strays]
        self._strays = unknown - set(strays)
        self.custody.suspicious = bool(unknown) and self.custody.suspicious
        if strays:
            log.warning("%d messages whose claim was cut off go back to their queues", len(strays))
            self._giver.back(strays, Place.HEAD)
