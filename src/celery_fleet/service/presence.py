"""Says every two seconds what the worker does, and what it can do: from a thread, so that nothing waits for it.

What Redis does not take is not kept: the next word replaces it.
"""

import atexit
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis
from celery import bootsteps, signals
from celery.worker import state as celery_state

from celery_fleet.store.catalogue import RENEWED, Catalogue
from celery_fleet.store.connection import key_prefix, own_state_client, state_client
from celery_fleet.store.presence import RUNNING_LIMIT, Presence, Presences, Running

from . import consuming, native
from .catalogue import task_types
from .recorder import queue_name
from .state import tally

log = logging.getLogger(__name__)

_PERIOD = 2.0
_SHARE_PERIOD = 30.0
"""Seconds between looks at what the processes share, for which the kernel walks through all of their memory."""
_COMPLAINT_PERIOD = 60.0
_FAREWELL = 2.0
"""Seconds that a stopping worker waits for the word that is just being said."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Presenting(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker bootstep: from when it consumes the worker says what it does; when it has stopped, nothing is left."""

    requires = ("celery.worker.components:Pool",)
    label = "Presence"
    release = ""
    """Set by `of_release`."""

    @classmethod
    def of_release(cls, release: str) -> type["Presenting"]:
        return type(cls.__name__, (cls,), {"release": release})

    def start(self, worker: Any) -> None:
        speaker = Speaker(worker, self.release)
        signals.worker_ready.connect(speaker.begin, weak=False)  # not before: the name may be another's
        signals.worker_shutdown.connect(speaker.stop, weak=False)
        atexit.register(speaker.stop)  # a cold shutdown sends no signal


class Speaker:
    """Speaks for one worker, from a thread with a connection of its own."""

    def __init__(self, worker: Any, release: str) -> None:
        self._worker = worker
        self._release = release
        self._process = os.getpid()
        self._started = time.time()
        self._memory = Memory()
        self._speaking = native.original("_thread", "allocate_lock")()
        self._begun = self._stopped = False
        self._catalogued = float("-inf")
        self._complained = float("-inf")

    def begin(self, **_: object) -> None:
        if not self._begun:
            self._begun = True
            native.start_thread(self.run)

    def run(self) -> None:
        client = own_state_client(self._worker.app)
        prefix = key_prefix(self._worker.app)
        presences, catalogue = Presences(client, prefix), Catalogue(client, prefix)
        while not self._stopped:
            try:
                with self._speaking:
                    if not self._stopped:
                        self.speak(presences, catalogue)
            except Exception as error:  # any: the thread goes on
                self._complain(error)
            native.sleep(_PERIOD)

    def speak(self, presences: Presences, catalogue: Catalogue) -> None:
        """One word. Raises redis.RedisError."""
        presences.write(self.presence())
        if time.monotonic() - self._catalogued > RENEWED:
            presences.prune(time.time())
            catalogue.write(task_types(self._worker.app, self._pool), self._release, self._started)
            self._catalogued = time.monotonic()

    def stop(self, **_: object) -> None:
        """Nothing is said after this."""
        if (
            self._process != os.getpid() or not self._begun or self._stopped
        ):  # or a child that its parent has forked
            return
        self._stopped = True
        if self._speaking.acquire(timeout=_FAREWELL):
            self._speaking.release()
        with contextlib.suppress(redis.RedisError):  # then it falls silent
            app = self._worker.app
            Presences(state_client(app), key_prefix(app)).remove(self._worker.hostname)

    @property
    def _pool(self) -> str:
        return str(self._worker.hostname).partition("@")[0]

    def presence(self) -> Presence:
        worker = self._worker
        requests = sorted(consuming.running(worker), key=lambda request: request.time_start or 0.0)
        memory, largest = self._memory.look(consuming.children(worker), time.monotonic())
        return Presence(
            node=worker.hostname,
            host=socket.gethostname(),
            pid=os.getpid(),
            pool=self._pool,
            kind=consuming.kind(worker),
            concurrency=worker.pool.num_processes,
            queues=tuple(consuming.held_queues(worker.consumer)),
            busy=len(requests),
            done=tally.done,
            failed=tally.failed,
            started_at=self._started,
            release=self._release,
            memory=memory,
            largest_child=largest,
            running=tuple(map(_running, requests[:RUNNING_LIMIT])),
            at=time.time(),
            stopping=_stopping(),
        )

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained > _COMPLAINT_PERIOD:
            self._complained = time.monotonic()
            log.warning(
                "The worker cannot say what it does: %s: %s",
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, redis.RedisError) else error,
            )


class Memory:
    """What the processes of a worker take, as the kernel counts it."""

    def __init__(
        self, resident: Callable[[int], int] | None = None, share: Callable[[int], int] | None = None
    ) -> None:
        self._resident, self._share = resident or resident_bytes, share or proportional_bytes
        self._looked = float("-inf")
        self._sum = 0

    def look(self, children: Iterable[int], now: float) -> tuple[int, int]:
        """All of them together, what they share counted once; and the largest child, or who has none."""
        children = list(children)
        if now - self._looked > _SHARE_PERIOD:
            self._looked = now
            self._sum = sum(map(self._share, [os.getpid(), *children]))
        return self._sum, max(map(self._resident, children or [os.getpid()]))


def resident_bytes(pid: int) -> int:
    """What a process has in memory; 0: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """The same, with a share of each page that it has in common with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return resident_bytes(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _running(request: Any) -> Running:
    started = request.time_start or time.time()
    return Running(request.id, request.name, started, queue_name(request.app, request.delivery_info))


def _stopping() -> bool:
    return any(
        asked is not None and asked is not False
        for asked in (celery_state.should_stop, celery_state.should_terminate)
    )
