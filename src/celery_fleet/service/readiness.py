"""Tells systemd when the worker is ready, what it does, that it lives, and when it stops."""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from celery import bootsteps
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state as celery_state

from .notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval
from .state import status_line, tally
from .watchdog import SUSPICIOUS_SILENCE, Observation, deserves_ping

log = logging.getLogger(__name__)

_PERIOD = 2.0


class Readiness(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker bootstep: a daemon thread of the main process watches it from the start of its pool on."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")
    label = "Readiness"
    queues: tuple[str, ...] = ()
    """What the worker must hold to be ready; set by `for_queues`."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._watch = Watch(worker, self.queues)

    @classmethod
    def for_queues(cls, queues: Iterable[str]) -> type["Readiness"]:
        return type(cls.__name__, (cls,), {"queues": tuple(queues)})

    def start(self, worker: Any) -> None:  # noqa: ARG002
        self._watch.begin()

    def stop(self, worker: Any) -> None:  # noqa: ARG002
        self._watch.stopping = True

    terminate = stop


class Watch:
    """Watches one worker. The thread tells systemd; the main loop only answers it."""

    def __init__(self, worker: Any, queues: tuple[str, ...]) -> None:
        self.worker = worker
        self.queues = queues
        self.ready = False
        self.stopping = False
        interval = watchdog_interval()
        self._period = min(_PERIOD, interval / 4) if interval else _PERIOD
        self._answered = time.monotonic()
        self._asked = False
        self._told = ""

    def begin(self) -> None:
        worker_ready.connect(self._on_ready, weak=False)
        worker_shutting_down.connect(self._on_shutting_down, weak=False)
        threading.Thread(target=self._run, name="fleet-readiness", daemon=True).start()

    def look(self) -> None:
        """One round: ask the main loop, judge, tell systemd."""
        observation = self._observe()
        if not observation.connected:
            self._forgive()
        elif not observation.stopping:
            self._ask()
            if not self.ready:
                self._announce()
            elif observation.silence > SUSPICIOUS_SILENCE and not self._broker_answers():
                self._forgive()
                observation = replace(self._observe(), connected=False)
        lines = [WATCHDOG] if deserves_ping(observation) else []
        text = self._status(observation)
        if text != self._told:
            self._told = text
            lines.append(status(text))
        if lines:
            notify(*lines)

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("The worker could not be judged, so systemd is told nothing")
            time.sleep(self._period)

    def _observe(self) -> Observation:
        consumer = self.worker.consumer
        return Observation(
            ready=self.ready,
            stopping=self.stopping or _set(celery_state.should_stop) or _set(celery_state.should_terminate),
            connected=consumer is not None and consumer.connection is not None,
            silence=time.monotonic() - self._answered,
            solo_task=_runs_tasks_in_main_loop(self.worker) and bool(celery_state.active_requests),
        )

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self.worker.consumer.call_soon(self._answer)

    def _answer(self) -> None:
        self._answered = time.monotonic()
        self._asked = False

    def _forgive(self) -> None:
        """Silence counts from now. The main loop is asked again: a reconnect makes it forget the question."""
        self._answer()

    def _broker_answers(self) -> bool:
        options = {"socket_timeout": 2, "socket_connect_timeout": 2}
        try:
            with self.worker.app.connection_for_read(transport_options=options) as connection:
                connection.connect()
        except Exception:  # any: whatever keeps us from the broker keeps the main loop from it
            return False
        return True

    def _announce(self) -> None:
        """READY=1, as soon as the worker consumes from all its queues."""
        held = held_queues(self.worker.consumer)
        if held and not set(self.queues) - set(held):
            self.ready = True
            self._answered = time.monotonic()
            self._told = self._status(self._observe())
            notify(READY, WATCHDOG, status(self._told))

    def _on_ready(self, **_: object) -> None:
        self._announce()
        missing = set(self.queues) - set(held_queues(self.worker.consumer))
        if missing:
            log.error("The worker does not consume from %s: check its -Q option", ", ".join(sorted(missing)))

    def _on_shutting_down(self, **_: object) -> None:
        self.stopping = True
        self._told = self._status(self._observe())
        notify(STOPPING, status(self._told))

    def _status(self, observation: Observation) -> str:
        busy = len(celery_state.active_requests)
        held = held_queues(self.worker.consumer)
        if observation.stopping:
            return f"stopping, {busy} tasks still running"
        if not observation.connected:
            return f"waiting for the broker, {busy} tasks running"
        if not self.ready:
            return f"starting, queues held: {','.join(held) or 'none'}"
        line = status_line(busy, self.worker.pool.num_processes, tally.done, tally.failed, held)
        stuck = "" if deserves_ping(observation) else f"main loop stuck for {observation.silence:.0f} s, "
        return stuck + line


def held_queues(consumer: Any) -> list[str]:
    """The names of the queues that a Celery consumer takes messages from at this moment."""
    tasks = consumer and consumer.task_consumer
    return [queue.name for queue in tasks.queues if tasks.consuming_from(queue)] if tasks else []


def _set(exit_code: object) -> bool:
    return exit_code is not None and exit_code is not False


def _runs_tasks_in_main_loop(worker: Any) -> bool:
    return type(worker.pool).__module__ == "celery.concurrency.solo"
