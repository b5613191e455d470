"""A stop that ends in bounded time, and puts back what still runs then."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from celery.worker import state

from . import consuming, native

log = logging.getLogger(__name__)

GRACE = 15.0
"""Seconds that a worker has to put its tasks back by itself."""

WITHOUT_BROKER = 60.0
"""Seconds that a stopping worker waits for a broker that does not answer: nothing can be acknowledged or put back,
and Redis keeps what it holds."""

_PROBE_EVERY = 5.0
_LAST_WORDS = 10.0
_ANSWER = 4.0


class Stop:
    """Sees to it that a worker that was told to stop does."""

    def __init__(self, worker: Any, timeout: float | None) -> None:
        self._worker = worker
        self._timeout = timeout
        self._began: float | None = None
        self._put_back: float | None = None
        self._probed = self._reached = 0.0

    def begin(self, now: float) -> None:
        if self._began is None:
            self._began = self._probed = self._reached = now

    def install(self) -> None:
        """QUIT means the same at once: for a worker whose tasks share its process, Celery's own handler loses them."""
        if not consuming.has_children(self._worker):
            signal.signal(signal.SIGQUIT, self._on_quit)

    def _on_quit(self, *_: object) -> None:
        self._timeout = 0.0
        state.should_stop = state.should_stop or 0

    def look(self, now: float, broker_answers: Callable[[], bool]) -> None:
        """One round. When time is up, tasks go back to their queues, and then this process ends."""
        self.begin(now)
        if now - self._probed > _PROBE_EVERY:
            self._probed = now
            if broker_answers():
                self._reached = now
        if now - self._reached > WITHOUT_BROKER:
            self._abandon("the broker does not answer", put_back=False)
        if self._timeout is None or self._began is None or now - self._began < self._timeout:
            return
        if self._put_back is None:
            self._put_back = now
            self._end_tasks()
        elif now - self._put_back > GRACE:
            self._abandon("its tasks did not end", put_back=True)

    def _end_tasks(self) -> None:
        if not consuming.has_children(self._worker):
            # Celery cannot end a task that shares this process. It would put the message back while the task goes on,
            # or take the killed greenlet's for done.
            self._abandon(f"its tasks had {self._timeout:g} s to end", put_back=True)
        log.warning("Running tasks had %g s to end, and go back to their queues", self._timeout)
        os.kill(os.getpid(), signal.SIGQUIT)

    def _abandon(self, why: str, put_back: bool) -> None:
        native.start_thread(_end_soon)
        returned = self._restore() if put_back else 0
        log.warning("The worker ends at once: %s, and %s of them went back to their queues", why, returned)
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)  # children are killed by the kernel when this process ends

    def _restore(self) -> int:
        """Puts back what the worker holds, the newest first, so that the oldest runs first.

        By a connection of this thread's own: those of a gevent worker belong to its hub.
        """
        returned = 0
        options = {"socket_timeout": _ANSWER, "socket_connect_timeout": _ANSWER}
        try:
            held = self._worker.consumer.task_consumer.channel.qos
            with self._worker.app.connection_for_read(transport_options=options) as connection:
                qos = connection.channel().qos
                for tag in reversed([tag for tag in list(held._delivered) if tag not in held._dirty]):
                    qos.restore_by_tag(tag)
                    returned += 1
        except Exception as error:  # what is left is restored when the worker starts again
            log.warning("Not all tasks could be put back: %s", error)
        return returned


def _end_soon() -> None:
    """Nothing that still has to be said or put back keeps this process alive for longer."""
    native.sleep(_LAST_WORDS)
    os._exit(0)
