"""Cancellation that lasts: a mark in Redis first, then the message is taken out, or its worker is told.

The mark is looked for whenever a task is about to be run: at the claim (atomic delivery) or before it goes to
the pool (stock), and by a worker that was away from the broker for all that it holds. What a cancellation does:

| the task | without `terminate` | with it |
|---|---|---|
| waiting in its queue, or until it is due or retried | taken out, REVOKED, also when no worker is there | the same |
| waiting too deep to be found, or a member of a chord | REVOKED, it never runs | the same |
| taken by a worker, not begun | REVOKED, it never runs | the same |
| running in a prefork or gevent pool | runs on; never again, should it be retried or delivered again | ended, REVOKED |
| running in a threads or solo pool | the same | the same as without: a thread cannot be ended |
| running, and it calls `raise_if_cancelled` | ends there, REVOKED | the same, or ended at once |
| ended | nothing | nothing |
| not known to anyone | nothing, and no mark stays | nothing, and no mark stays |
"""

import json
import logging
import re
import time
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import redis
from celery import Celery, bootsteps, signals, states
from celery._state import get_current_task
from celery.exceptions import Ignore
from celery.worker import state as celery_state

from celery_fleet.delivery import cancellation, pending
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.lease import leases
from celery_fleet.delivery.pending import Located, Pending
from celery_fleet.delivery.wiring import is_atomic
from celery_fleet.policy.priority import broker_priority
from celery_fleet.store.connection import broker_client, key_prefix, state_client
from celery_fleet.store.index import TaskIndex, TaskRecord
from celery_fleet.store.presence import FRESH, Presences

from . import showing

log = logging.getLogger(__name__)

_ENDED = states.READY_STATES | {"IGNORED"}
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY})
_LOOK_PERIOD = 1.0
"""Seconds between two looks of one task at its mark."""

_UNABLE = ("threads", "solo")
"""Kinds of pools that cannot end a task."""

_NO_LIMIT = 10 * 365 * 86_400
"""The index is kept within its limits by the workers, which know them."""

_REPR_LIMIT = 1024


@dataclass(frozen=True)
class Cancelled:
    """What a cancellation found and did."""

    task_id: str
    state_before: str
    """Of the result backend, else of the index. PENDING: nobody has begun it, or nobody knows it."""
    mark: bool
    """Whether it will not be begun again, whatever restarts."""
    revoked: tuple[str, ...]
    """The workers that have heard of it."""
    terminated: tuple[str, ...]
    """The workers that have ended it."""
    unable: tuple[str, ...]
    """The workers that run it and cannot end it."""
    possible: bool
    """Whether the task is kept from running, or ended. False: it was over, or goes on running."""
    known: bool = True
    """False: there is no trace of such a task, so nothing was done."""
    removed: bool = False
    """Whether its message was taken out of its queue."""
    unable_kinds: tuple[str, ...] = ()
    """The kinds of the pools that cannot end it: threads, solo."""


class TaskCancelledError(Ignore):  # type: ignore[misc]
    """Ends a task that was cancelled while it ran; its state is REVOKED."""


def cancel(app: Celery, task_id: str, terminate: bool = False, timeout: float = 1.0) -> Cancelled:
    """Cancels a task for good; waits at most `timeout` seconds for the answers of the workers that hold it.

    Raises redis.RedisError or kombu's OperationalError: when it does, the mark may not be there.
    """
    return _Cancellation(app, task_id, terminate, timeout).run()


def raise_if_cancelled() -> None:
    """For tasks that want to end early when they are cancelled: call it where that does no harm.

    It is cheap: Redis is asked at most once a second. Raises TaskCancelledError, which the task lets through;
    its state becomes REVOKED. Does nothing outside of a worker.
    """
    task = get_current_task()
    request = task and task.request
    if not request or request.called_directly or request.is_eager or not _wanted_gone(task.app, request):
        return
    task.backend.mark_as_revoked(
        request.id, "cancelled", request=request, store_result=not request.ignore_result
    )
    signals.task_revoked.send(sender=task, request=request, terminated=False, signum=None, expired=False)
    raise TaskCancelledError("cancelled")


class Cancellation(bootsteps.StartStopStep):  # type: ignore[misc]
    """Consumer bootstep: whenever the worker is connected, it learns what was cancelled meanwhile."""

    requires = ("celery.worker.consumer.control:Control",)
    label = "Cancellation"
    every_start = False
    """Whether marks are looked for before each task; set by `for_delivery`."""

    @classmethod
    def for_delivery(cls, delivery: str) -> type["Cancellation"]:
        """Atomic delivery looks for them when it claims a message."""
        return type(cls.__name__, (cls,), {"every_start": delivery != "atomic"})

    def start(self, consumer: Any) -> None:
        global _app  # noqa: PLW0603
        _app = consumer.app if self.every_start else None
        held = dict(celery_state.requests)
        try:
            marked, to_end = _marks(consumer.app, held)
        except redis.ResponseError as error:
            log.error("What was cancelled cannot be learnt: %s", error)
            return
        celery_state.revoked.update(marked)
        for task_id in to_end:
            if held[task_id] in celery_state.active_requests:
                try:
                    held[task_id].terminate(consumer.pool, signal="SIGTERM")
                except NotImplementedError:
                    log.warning("Task %s was cancelled, but a pool of this kind cannot end it", task_id)


_app: Celery | None = None


def learn_mark(task_id: str) -> None:
    """Before a task is begun: a mark that the worker has not heard of becomes known to Celery."""
    if _app is not None and task_id not in celery_state.revoked:
        try:
            celery_state.revoked.update(_marks(_app, [task_id])[0])
        except redis.RedisError as error:
            log.warning("Whether a task was cancelled cannot be learnt: %s", error)


class _Cancellation:
    """One cancellation."""

    def __init__(self, app: Celery, task_id: str, terminate: bool, timeout: float) -> None:
        self._app, self._id, self._terminate, self._timeout = app, task_id, terminate, timeout
        self._client, self._keys = broker_client(app), _keys(app)
        self._atomic = is_atomic(app)

    def run(self) -> Cancelled:
        before, record = self._state()
        if (
            before in _ENDED and before != states.REVOKED
        ):  # what was only revoked would be run after a restart
            return Cancelled(self._id, before, False, (), (), (), False)
        try:
            note = pending.pending(self._client, [self._id], self._keys).get(self._id)
            message = self._message(before, note)
            traces = record or note or message or self._holders() or self._is_marked()
        except redis.ResponseError:  # programs that only send tasks may not look
            note, message, traces = None, None, True
        if before == states.PENDING and not traces:
            before, record = self._state()  # it may have ended meanwhile
            if before == states.PENDING and record is None:
                return Cancelled(self._id, before, False, (), (), (), False, known=False)
        mark(self._app, self._id, self._terminate)
        removed = message is not None and _may_go(message) and self._remove(message)
        told, unable = ({}, {}) if removed else self._tell(waits=bool(note or message))
        terminated = tuple(worker for worker, answer in told.items() if _has_ended(answer, self._id))
        after, record = self._state()
        if after in _WAITING:
            # No worker runs it: the next one that takes it, or comes to it, says the same.
            self._app.backend.mark_as_revoked(self._id, "revoked", store_result=True)
            self._index(record or _record(self._id, note, message))
            after, unable = states.REVOKED, {}
        return Cancelled(
            self._id,
            before,
            True,
            tuple(told),
            terminated,
            tuple(unable),
            after == states.REVOKED or bool(terminated),
            removed=removed,
            unable_kinds=tuple(dict.fromkeys(unable.values())),
        )

    def _state(self) -> tuple[str, TaskRecord | None]:
        """And what the index knows, of a task whose result does not tell that it was begun."""
        try:
            state = str(self._app.backend.get_state(self._id))
        except NotImplementedError:  # no result backend
            state = states.PENDING
        if state not in _WAITING:
            return state, None
        record = self._task_index().get(self._id)
        if record and state == states.PENDING:  # also of a task whose result nobody wants
            state = record.state
        return state, record

    def _message(self, state: str, note: Pending | None) -> Located | None:
        """The message of the task, if it waits. Only of what stock producers sent nothing is noted."""
        if note:
            return pending.locate(self._client, self._id, self._keys)
        if state not in _WAITING or self._holders():
            return None
        return pending.search(self._client, self._id, list(self._app.amqp.queues), self._keys)

    def _holders(self) -> list[str]:
        """The nodes that have the message; with stock delivery they have no names."""
        nodes = [lease.node for lease in leases(self._client, self._keys)]
        return pending.holders(self._client, self._id, ["", *nodes], self._keys)

    def _is_marked(self) -> bool:
        return bool(cancellation.cancelled(self._client, [self._id], self._keys))

    def _remove(self, message: Located) -> bool:
        try:
            return pending.remove(self._client, self._id, message, self._keys)
        except redis.ResponseError:  # who may only look leaves it to the mark
            return False

    def _tell(self, waits: bool) -> tuple[dict[str, Any], dict[str, str]]:
        """What the workers that have the task answer, and the kinds of those that cannot end it.

        `waits`: it was in a queue a moment ago. Waits for no others, nor for a solo pool, which hears of nothing while it
        works. Of a task that was acknowledged when it began nobody knows who has it: all are asked.
        """
        alive = [lease.node for lease in leases(self._client, self._keys) if lease.age <= FRESH]
        try:
            holders = [node for node in self._holders() if node]
            chosen = [node for node in holders or ([] if waits else alive) if node in alive]
        except redis.ResponseError:
            chosen = alive
        if self._atomic and not chosen:
            return {}, {}
        kinds = self._kinds() if self._terminate else {}
        waited_for = [node for node in chosen if kinds.get(node) != "solo"]
        answers = self._app.control.revoke(
            self._id,
            destination=chosen or None,
            terminate=self._terminate,
            signal="SIGTERM",
            reply=bool(waited_for) or not chosen,
            timeout=self._timeout,
            limit=len(waited_for) or None,
        )
        told = {worker: answer for each in answers or () for worker, answer in each.items()}
        unable = {node: kinds[node] for node in chosen if kinds.get(node) in _UNABLE}
        unable |= {node: kind for node, answer in told.items() if (kind := _unable_kind(answer))}
        return told, unable

    def _kinds(self) -> dict[str, str]:
        """Of the pools, by node."""
        try:
            found = Presences(state_client(self._app), key_prefix(self._app)).all()
        except redis.ResponseError:
            return {}
        return {presence.node: presence.kind for presence in found}

    def _task_index(self) -> TaskIndex:
        return TaskIndex(state_client(self._app), _NO_LIMIT, _NO_LIMIT, key_prefix(self._app))

    def _index(self, record: TaskRecord) -> None:
        now = time.time()
        try:
            self._task_index().write([replace(record, state=states.REVOKED, at=now, ended=now)])
        except redis.ResponseError:  # programs that only send tasks may not write there; a worker will
            log.debug("That %s was cancelled is not in the index yet", self._id)


def _record(task_id: str, note: Pending | None, message: Located | None) -> TaskRecord:
    """What the index is told of a task that no worker has seen."""
    where = message or note
    known = TaskRecord(task_id, states.REVOKED, 0.0)
    if where:
        known = replace(known, queue=where.queue, priority=broker_priority(where.priority), eta=where.due)
    if message:
        headers = message.message["headers"]
        args, kwargs = str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")
        if rules := showing.rules():
            args, kwargs = rules.reprs(str(headers.get("task") or ""), args, kwargs, queue=message.queue)
        known = replace(
            known,
            name=str(headers.get("task") or ""),
            args=args[:_REPR_LIMIT],
            kwargs=kwargs[:_REPR_LIMIT],
            retries=int(headers.get("retries") or 0),
            root_id=str(headers.get("root_id") or ""),
            parent_id=str(headers.get("parent_id") or ""),
        )
    return known


def _may_go(found: Located) -> bool:
    """Whether a message may be taken out: of a member of a chord, a worker has to tell the chord."""
    message = found.message
    try:
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = b64decode(body)
        return not json.loads(body)[2].get("chord")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False


def _unable_kind(answer: object) -> str | None:
    """The kind of a pool that answers that it cannot end tasks: Celery's answer has the name of the error in it."""
    text = str(answer)
    if "NotImplementedError" not in text:
        return None
    found = re.search(r"celery\.concurrency\.(\w+)", text)
    return {"thread": "threads"}.get(found[1], found[1]) if found else "other"


def mark(app: Celery, task_id: str, terminate: bool) -> None:
    """From now on nobody begins the task; with `terminate`, a worker that was away ends it when it comes back."""
    client, keys = broker_client(app), _keys(app)
    if terminate:
        now = time.time()
        pipe = client.pipeline()
        pipe.zadd(_to_end(keys), {task_id: now})
        pipe.zremrangebyscore(_to_end(keys), "-inf", now - cancellation.KEPT)
        pipe.execute()
    cancellation.cancel(client, [task_id], keys)


def _marks(app: Celery, ids: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of these tasks, those that are cancelled, and those that are to be ended even if they run."""
    client, keys, wanted = broker_client(app), _keys(app), list(ids)
    marked = cancellation.cancelled(client, wanted, keys)
    if not marked:
        return set(), set()
    scores: Any = client.zmscore(_to_end(keys), list(marked))
    return marked, {task_id for task_id, score in zip(marked, scores, strict=True) if score is not None}


def _keys(app: Celery) -> Keys:
    return Keys.of(app.conf.broker_transport_options)


def _to_end(keys: Keys) -> str:
    """Sorted set: the cancelled tasks that are to be ended even if they run."""
    return f"{keys.cancelled}:running"


def _has_ended(answer: object, task_id: str) -> bool:
    text = str(answer.get("ok", "")) if isinstance(answer, Mapping) else ""
    return text.startswith("terminate: ") and task_id in text


def _wanted_gone(app: Celery, request: Any) -> bool:
    if request.id in celery_state.revoked:  # where tasks run in the main process, which has heard of it
        return True
    now = time.monotonic()
    if now - getattr(request, "fleet_looked", float("-inf")) < _LOOK_PERIOD:
        return False
    request.fleet_looked = now
    try:
        return bool(_marks(app, [request.id])[0])
    except redis.RedisError:
        return False
