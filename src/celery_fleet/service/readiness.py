"""Tells systemd when the worker is ready, what it does, that it consumes, and when it stops."""

import logging
import time
from collections.abc import Iterable
from typing import Any

from celery import bootsteps
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state as celery_state

from . import consuming, native, watchdog
from .consuming import held_queues
from .notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval
from .state import status_line, tally
from .stop import Stop
from .watchdog import Judge, Observation

log = logging.getLogger(__name__)

_PERIOD = 2.0
_STOPPING_PERIOD = 0.25
_PULSE = 1.0
_REAP_PERIOD = 0.5
"""Seconds between looks for dead children. Celery looks when one closes its pipe, which it does before it can be
reaped, and then after up to five seconds."""
_PROBE_TIMEOUT = 2
"""Seconds that the broker has for an answer."""


class Readiness(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker bootstep: a thread of the main process watches it from the start of its pool on."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")
    label = "Readiness"
    queues: tuple[str, ...] = ()
    """What the worker must hold to be ready; set by `for_queues`."""
    stop_timeout: float | None = None
    """Seconds that running tasks have to end when the worker stops; None if it is not bounded."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._watch = Watch(worker, self.queues, self.stop_timeout)

    @classmethod
    def for_queues(cls, queues: Iterable[str], stop_timeout: float | None = None) -> type["Readiness"]:
        return type(cls.__name__, (cls,), {"queues": tuple(queues), "stop_timeout": stop_timeout})

    def start(self, worker: Any) -> None:  # noqa: ARG002
        self._watch.begin()

    def stop(self, worker: Any) -> None:  # noqa: ARG002
        self._watch.stopping = True

    terminate = stop


class Watch:
    """Watches one worker. The thread judges and tells systemd; the main loop only answers it."""

    def __init__(self, worker: Any, queues: tuple[str, ...], stop_timeout: float | None) -> None:
        self.worker = worker
        self.queues = queues
        self.ready = False
        self.stopping = False
        interval = watchdog_interval()
        self._period = min(_PERIOD, interval / 4) if interval else _PERIOD
        self._answered = self._asked = self._pulse = self._has_credit_since = time.monotonic()
        self._judge = Judge(_patience(worker))
        self._stop = Stop(worker, stop_timeout)
        self._told = ""

    def begin(self) -> None:
        worker_ready.connect(self._on_ready, weak=False)
        worker_shutting_down.connect(self._on_shutting_down, weak=False)
        self._stop.install()
        if consuming.has_greenlets(self.worker):
            self.worker.timer.call_repeatedly(_PULSE, self._beat)
        if consuming.has_children(self.worker):
            self.worker.timer.call_repeatedly(_REAP_PERIOD, consuming.reap, (self.worker,))
        native.start_thread(self._run)

    def look(self) -> None:
        """One round: ask the main loop, judge, tell systemd."""
        now = time.monotonic()
        observation = self._observe(now)
        if observation.connected and not observation.stopping:
            self._ask(now)
            if not self.ready:
                self._announce()
        else:
            self._answer()
        self._judge.look(observation, now)
        self._tell(observation, now)
        if observation.stopping:
            self._stop.look(now, self.broker_answers)
        elif self._judge.troubled_for(now) > watchdog.SUSPICIOUS_SILENCE and not self.broker_answers():
            self._judge.forgive()

    def broker_answers(self) -> bool:
        options = {"socket_timeout": _PROBE_TIMEOUT, "socket_connect_timeout": _PROBE_TIMEOUT}
        try:
            with self.worker.app.connection_for_read(transport_options=options) as connection:
                connection.connect()
        except Exception:  # any: whatever keeps us from the broker keeps the main loop from it
            return False
        return True

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("The worker could not be judged, so systemd is told nothing")
            native.sleep(min(self._period, _STOPPING_PERIOD) if self.stopping else self._period)

    def _observe(self, now: float) -> Observation:
        worker, consumer = self.worker, self.worker.consumer
        self.stopping = self.stopping or _set(celery_state.should_stop) or _set(celery_state.should_terminate)
        connected = consumer is not None and consumer.connection is not None
        if not connected or self.stopping or not self.ready:
            self._has_credit_since = now
            return Observation(ready=self.ready, stopping=self.stopping, connected=connected)
        wanted, held = consuming.wanted_queues(worker), held_queues(consumer)
        # A gevent pool that is full holds up the main loop, which then has the pulse of the hub to show.
        full = consuming.waits_for_slot(worker)
        credit = bool(held) and not full and consuming.has_credit(consumer)
        if not credit:
            self._has_credit_since = now
        return Observation(
            answered=now - max(self._answered, self._pulse if full else 0.0),
            occupied=consuming.main_loop_runs_task(worker),
            lost=tuple(queue for queue in wanted if queue not in held),
            paused=not wanted,
            credit=credit,
            asked=now - max(self._has_credit_since, consuming.asked_at(consumer) or 0.0) if credit else 0.0,
            taken=celery_state.all_total_count[0],
            holders=0 if credit else consuming.holders(worker),
        )

    def _tell(self, observation: Observation, now: float) -> None:
        lines = [WATCHDOG] if self._judge.deserves_ping(now) else []
        text = self._status(observation, now)
        if text != self._told:
            self._told = text
            lines.append(status(text))
        if lines:
            notify(*lines)

    def _ask(self, now: float) -> None:
        # A reconnect makes the main loop forget the question, so it is asked again.
        if self._answered >= self._asked or now - self._asked > watchdog.LATE:
            self._asked = now
            self.worker.consumer.call_soon(self._answer)

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _beat(self) -> None:
        self._pulse = time.monotonic()

    def _announce(self) -> None:
        """READY=1, as soon as the worker consumes from all its queues."""
        held = held_queues(self.worker.consumer)
        if held and not set(self.queues) - set(held):
            self.ready = True
            now = self._answered = time.monotonic()
            self._told = self._status(Observation(), now)
            notify(READY, WATCHDOG, status(self._told))

    def _on_ready(self, **_: object) -> None:
        self._announce()
        missing = set(self.queues) - set(held_queues(self.worker.consumer))
        if missing:
            log.error("The worker does not consume from %s: check its -Q option", ", ".join(sorted(missing)))

    def _on_shutting_down(self, **_: object) -> None:
        self.stopping = True
        now = time.monotonic()
        self._stop.begin(now)
        self._told = self._status(Observation(stopping=True), now)
        notify(STOPPING, status(self._told))

    def _status(self, observation: Observation, now: float) -> str:
        busy = len(celery_state.active_requests)
        held = held_queues(self.worker.consumer)
        if observation.stopping:
            return f"stopping, {busy} tasks still running"
        if not observation.connected:
            return f"waiting for the broker, {busy} tasks running"
        if not self.ready:
            return f"starting, queues held: {','.join(held) or 'none'}"
        line = status_line(busy, self.worker.pool.num_processes, tally.done, tally.failed, held)
        troubled = self._judge.troubled_for(now)
        # One moment proves little: a task has just ended, the next one is on its way.
        if troubled <= watchdog.LATE:
            return line
        return f"{self._judge.trouble} for {troubled:.0f} s, {line}"


def _set(exit_code: object) -> bool:
    return exit_code is not None and exit_code is not False


def _patience(worker: Any) -> float:
    """The app may have asked Celery to wait long for a child that is lost, or that starts."""
    waits = (worker.worker_lost_wait, worker.app.conf.worker_proc_alive_timeout)
    return watchdog.LONGEST_SILENCE + max(0.0, *(float(wait or 0) - 10 for wait in waits))
