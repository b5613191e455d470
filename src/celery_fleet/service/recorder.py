"""What becomes of each task, told by its request in the main process and kept in the fleet's store.

Steps of tasks go to the index in batches, from a thread: the main loop waits for none of it, and when Redis
is away for long the oldest are dropped and counted. Dead letters are written at once, before the message is
acknowledged, and are never dropped: one that cannot be stored is held, with its message unacknowledged, and
stored later by the thread. What is held when the worker stops is delivered again.
"""

import atexit
import inspect
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import redis
from celery import Celery, bootsteps, signals
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.utils.encoding import safe_repr

from celery_fleet.policy.parameters import parameters_of
from celery_fleet.store.connection import key_prefix, state_client
from celery_fleet.store.deadletters import DeadLetter, DeadLetters, letter_of, trace_id
from celery_fleet.store.discreet import kept
from celery_fleet.store.headers import LOST, ORIGIN, SINCE, as_count, as_moment, as_step, as_text
from celery_fleet.store.index import TaskIndex, TaskRecord

from . import showing
from .tasklog import one_line

log = logging.getLogger(__name__)

_FLUSH_PERIOD, _RETRY_PERIOD = 0.4, 2.0
_MOST_STEPS, _MOST_RECORDS = 20_000, 10_000
_REPR_LIMIT = 1024
_COMPLAINT_PERIOD = 60.0
_STOP_TIME = 3.0
"""Seconds that a stopping worker tries to write what is left."""


def received(request: Any) -> None:
    """The message was taken."""
    _recorder.note(request, "RECEIVED")


def started(request: Any) -> None:
    """The pool runs the task."""
    _recorder.note(request, "STARTED")


def succeeded(request: Any, runtime: float | None) -> None:
    """The task has ended well, after so many seconds (None: nobody knows)."""
    _recorder.note(request, "SUCCESS", runtime)


def failed(request: Any, exc: BaseException, einfo: Any, reason: str) -> None:
    """The task has failed for good. Called before its message is acknowledged, see `holds`."""
    _recorder.failed(request, exc, einfo, reason)


def retried(request: Any, exc: BaseException, eta: datetime | None) -> None:
    """The task is to be tried again."""
    _recorder.note(request, "RETRY", (exc, eta))


def revoked(request: Any) -> None:
    """The task was cancelled."""
    _recorder.note(request, "REVOKED")


def ignored(request: Any) -> None:
    """The task has ended without a result, as it wished."""
    _recorder.note(request, "IGNORED")


def holds(request: Any) -> bool:
    """Whether the dead letter of this request could not be stored yet: its message is not to be acknowledged."""
    return request.id in _recorder.held


def holding() -> int:
    """How many messages are held until their dead letters can be stored."""
    return len(_recorder.held)


def keep(letter: DeadLetter, when_stored: Callable[[], object]) -> bool:
    """Stores a letter. False: it is held, and `when_stored` is called by a thread as soon as it is stored."""
    return _recorder.keep(letter, when_stored)


class Recording(bootsteps.StartStopStep):  # type: ignore[misc]
    """Worker bootstep: from its start on, everything is recorded; without it, nothing is."""

    requires = ("celery.worker.components:Pool",)
    label = "Recording"
    dead_letter_limit = dead_letter_age = task_index_limit = 0
    """See `Topology`; set by `for_limits`."""

    @classmethod
    def for_limits(cls, **limits: int) -> type["Recording"]:
        return type(cls.__name__, (cls,), limits)

    def start(self, worker: Any) -> None:
        app, prefix = worker.app, key_prefix(worker.app)
        _recorder.begin(
            app,
            lambda: DeadLetters(state_client(app), self.dead_letter_limit, self.dead_letter_age, prefix),
            lambda: TaskIndex(state_client(app), self.task_index_limit, self.dead_letter_age, prefix),
        )
        signals.worker_shutdown.connect(_recorder.stop, weak=False)
        atexit.register(_recorder.stop)  # a cold shutdown sends no signal


class Recorder:
    """One for the process. The stores are asked for where they are used: their clients belong to a process."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[DeadLetter, Callable[[], object]]] = {}
        self.dropped = 0
        """Steps and records that did not reach the index."""
        self._app: Celery | None = None
        self._process = 0
        self._letters: Callable[[], DeadLetters]
        self._index: Callable[[], TaskIndex]
        self._steps: deque[tuple[Any, str, float, Any]] = deque(maxlen=_MOST_STEPS)
        self._records: dict[Any, dict[str, Any]] = {}
        """By the request: each attempt at a task has one of its own."""
        self._withdrawn: set[str] = set()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._complained = float("-inf")

    def begin(self, app: Celery, letters: Callable[[], DeadLetters], index: Callable[[], TaskIndex]) -> None:
        self._app, self._letters, self._index = app, letters, index
        self._process = os.getpid()

    def note(self, request: Any, state: str, more: Any = None) -> None:
        """Cheap: it is called for every step of every task."""
        if self._app is None:
            return
        if len(self._steps) == _MOST_STEPS:
            self.dropped += 1
        self._steps.append((request, state, time.time(), more))
        if not self._wake.is_set():
            self._start()

    def failed(self, request: Any, exc: BaseException, einfo: Any, reason: str) -> None:
        if self._app is None:
            return
        request.is_dead = True
        self.note(request, "FAILURE", exc)
        self.keep(_letter(self._app, request, exc, einfo, reason), request.acknowledge, request)

    def keep(self, letter: DeadLetter, when_stored: Callable[[], object], request: Any = None) -> bool:
        if self._app is None:
            return True
        if rules := showing.rules():
            letter = kept(letter, rules, parameters_of(request.task) if request else ())
        if not self._failures:  # else the thread is trying: the main loop need not wait for the same answer
            try:
                self._letters().add(letter)
            except redis.RedisError as error:
                self._failures = 1
                self._complain(error)
            else:
                return True
        self.held[letter.task_id] = letter, when_stored
        self._start()
        return False

    def flush(self) -> None:
        """Writes what there is. Raises redis.RedisError; what could not be written is kept."""
        with self._flushing:
            self._gather()
            self._store_held()
            if self._withdrawn:
                self._letters().withdraw(self._withdrawn)
                self._withdrawn = set()
            if self._records:
                self._index().write(TaskRecord(**record) for record in self._records.values())
                self._records = {}

    def stop(self, **_: object) -> None:
        """Writes what is left, within seconds."""
        if self._process != os.getpid():  # a child that its parent has forked
            return
        end = time.monotonic() + _STOP_TIME
        while self._app and (self._steps or self._records or self._withdrawn or self.held):
            try:
                self.flush()
            except redis.RedisError as error:
                if time.monotonic() > end:
                    left = len(self._steps) + len(self._records)
                    log.error("%d steps of tasks could not be recorded: %s", left, error)
                    return
                time.sleep(0.2)

    def _start(self) -> None:
        self._wake.set()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fleet-recorder", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(min(_FLUSH_PERIOD * 2**self._failures, _RETRY_PERIOD))
            self._wake.clear()
            try:
                self.flush()
                self._failures = 0
            except Exception as error:  # any: the thread goes on
                self._failures += 1
                self._wake.set()
                self._complain(error)

    def _store_held(self) -> None:
        """A letter that is refused for itself does not stop the others."""
        refused = None
        for task_id, (letter, when_stored) in list(self.held.items()):
            try:
                self._letters().add(letter)
            except redis.ResponseError as error:
                refused = error
            else:
                del self.held[task_id]
                when_stored()
        if refused:
            raise refused

    def _gather(self) -> None:
        """Makes one record of all the steps of each attempt at a task."""
        while self._steps:
            request, state, at, more = self._steps.popleft()
            try:
                self._add_step(request, state, at, more)
            except Exception as error:  # any: what is odd about one task is no matter of the others
                self.dropped += 1
                self._complain(error)
        for request in islice(list(self._records), max(0, len(self._records) - _MOST_RECORDS)):
            del self._records[request]
            self.dropped += 1

    def _add_step(self, request: Any, state: str, at: float, more: Any) -> None:
        if state == "RECEIVED":
            request.received_at = at
        if request not in self._records:
            self._records[request] = _known(request)
        self._records[request] |= _step(request, state, at, more)
        if state == "SUCCESS" and request.delivery_info.get("redelivered"):
            # It had failed before, its message was not yet acknowledged, and now it is no failure.
            self._withdrawn.add(request.id)

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained > _COMPLAINT_PERIOD:
            self._complained = time.monotonic()
            log.error(
                "What becomes of tasks cannot be recorded, %d messages are held until it can: %s: %s",
                len(self.held),
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, redis.RedisError) else error,
            )


_recorder = Recorder()


def raw_message(message: Any) -> str:
    """A message of kombu as it was in the queue."""
    raw = getattr(message, "_raw", None)
    return json.dumps(message.serializable() if raw is None else raw)


def queue_name(app: Celery, delivery_info: Mapping[str, Any]) -> str:
    """The queue that a message came from, as far as its exchange and routing key tell."""
    exchange, key = (
        each if isinstance(each := delivery_info.get(name), str) else ""
        for name in ("exchange", "routing_key")
    )
    if exchange and key not in app.amqp.queues:
        for name, queue in app.amqp.queues.items():
            if queue.exchange and (queue.exchange.name, queue.routing_key) == (exchange, key):
                return str(name)
    return key


def _known(request: Any) -> dict[str, Any]:
    """What the message says of its task."""
    said = request.request_dict
    return {
        "task_id": request.id,
        "name": request.name,
        "queue": queue_name(request.app, request.delivery_info),
        "worker": request.hostname,
        "args": as_text(request.argsrepr)[:_REPR_LIMIT],
        "kwargs": as_text(request.kwargsrepr)[:_REPR_LIMIT],
        "eta": request.eta.timestamp() if request.eta else None,
        "since": _since(request),
        "retries": as_count(said.get("retries")),
        "losses": as_count(said.get(LOST)),
        "priority": as_step(request.delivery_info.get("priority")),
        "root_id": as_text(request.root_id),
        "parent_id": as_text(request.parent_id),
        "trace_id": trace_id(said.get("traceparent")),
        "origin": as_text(said.get(ORIGIN)),
    }


def _since(request: Any) -> float | None:
    """From when this attempt waits. One that was delivered again waits anew, from when it came."""
    said = request.request_dict
    again = said.get("retries") or said.get(LOST) or request.delivery_info.get("redelivered")
    eta = request.eta.timestamp() if request.eta else None
    due = eta if again else as_moment(said.get(SINCE))
    received: float | None = request.received_at
    return received if due is None else float(due)


def _step(request: Any, state: str, at: float, more: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"state": state, "at": at}
    if state == "RECEIVED":
        step["received"] = at
    elif state == "STARTED":
        step["started"] = at
    elif state == "RETRY":
        error, eta = more
        step |= {"error": _error_line(request, error), "eta": eta.timestamp() if eta else None}
    else:
        step["ended"] = at
        if state == "SUCCESS":
            step["runtime"] = more
        elif state == "FAILURE":
            step["error"] = _error_line(request, more)
    return step


def _letter(app: Celery, request: Any, exc: BaseException, einfo: Any, reason: str) -> DeadLetter:
    name, text = _told(exc)
    context = request._context
    if reason == "failed" and isinstance(exc, TypeError) and not _fits(request):
        reason = "invalid"
    return letter_of(
        raw_message(request.message),
        reason=reason,
        task_id=request.id,
        name=request.name,
        queue=queue_name(app, request.delivery_info),
        exception=name,
        error=text,
        args=request.args,
        kwargs=request.kwargs,
        traceback=str(getattr(einfo, "traceback", None) or ""),
        losses=as_count((context.headers or {}).get(LOST)),
        worker=request.hostname,
    )


def _fits(request: Any) -> bool:
    """Whether the task can be called with the arguments of its message at all."""
    try:
        inspect.signature(request.task.run).bind(*request.args, **request.kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


def _told(error: BaseException) -> tuple[str, str]:
    """The name of an exception's class, and its text; also of what came from a child in place of one."""
    if isinstance(error, UnpickleableExceptionWrapper):
        return error.exc_cls_name, _text(" ".join(map(str, error.exc_args)))
    return type(error).__name__, _text(error)


def _text(error: object) -> str:
    try:
        return str(error)
    except Exception:
        return str(safe_repr(error))  # type: ignore[no-untyped-call]


def _error_line(request: Any, error: BaseException) -> str:
    return one_line(showing.shown(request.task, request).scrub(": ".join(filter(None, _told(error)))))
