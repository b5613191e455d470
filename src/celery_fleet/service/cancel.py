"""Cancellation that lasts: a mark in Redis first, then word to the workers.

The mark is looked for whenever a task is about to be run: at the claim (atomic delivery) or before it goes to
the pool (stock), and by a worker that was away from the broker for all that it holds. What a cancellation does:

| the task | without `terminate` | with it |
|---|---|---|
| queued, prefetched, parked, waiting for its ETA or a retry | REVOKED, it never runs | the same |
| running in a prefork or gevent pool | runs on; never again, should it be retried or delivered again | ended, REVOKED |
| running in a threads or solo pool | the same | the same as without: a thread cannot be ended |
| running, and it calls `raise_if_cancelled` | ends there, REVOKED | the same, or ended at once |
| ended | nothing | nothing |
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery, bootsteps, signals, states
from celery._state import get_current_task
from celery.exceptions import Ignore
from celery.worker import state as celery_state

from celery_fleet.delivery import cancellation
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.lease import leases
from celery_fleet.store.connection import broker_client, key_prefix, state_client
from celery_fleet.store.index import TaskIndex

log = logging.getLogger(__name__)

_ENDED = states.READY_STATES | {"IGNORED"}
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY})
_LOOK_PERIOD = 1.0
"""Seconds between two looks of one task at its mark."""


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


class TaskCancelledError(Ignore):  # type: ignore[misc]
    """Ends a task that was cancelled while it ran; its state is REVOKED."""


def cancel(app: Celery, task_id: str, terminate: bool = False, timeout: float = 1.0) -> Cancelled:
    """Cancels a task for good; waits at most `timeout` seconds for the workers' answers.

    Raises redis.RedisError or kombu's OperationalError: when it does, the mark may not be there.
    """
    before = _state(app, task_id)
    if before in _ENDED and before != states.REVOKED:  # what was only revoked would be run after a restart
        return Cancelled(task_id, before, False, (), (), (), False)
    _mark(app, task_id, terminate)
    # Atomic delivery knows the workers, and need not wait longer than for all of them.
    limit = len(leases(broker_client(app), _keys(app))) or None
    answers = app.control.revoke(
        task_id, terminate=terminate, signal="SIGTERM", reply=True, timeout=timeout, limit=limit
    )
    told = {worker: answer for each in answers or () for worker, answer in each.items()}
    terminated = tuple(worker for worker, answer in told.items() if _has_ended(answer, task_id))
    unable = tuple(worker for worker, answer in told.items() if "NotImplementedError" in str(answer))
    after = _state(app, task_id)
    if after in _WAITING:
        # No worker that holds it has answered, or none is there: the next one that takes it says the same.
        app.backend.mark_as_revoked(task_id, "revoked", store_result=True)
        after = states.REVOKED
    possible = after == states.REVOKED or bool(terminated)
    return Cancelled(task_id, before, True, tuple(told), terminated, unable, possible)


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


def _state(app: Celery, task_id: str) -> str:
    try:
        state = str(app.backend.get_state(task_id))
    except NotImplementedError:  # no result backend
        state = states.PENDING
    if state == states.PENDING:  # also of a task whose result nobody wants
        record = TaskIndex(state_client(app), 0, 0, key_prefix(app)).get(task_id)
        state = record.state if record else state
    return state


def _mark(app: Celery, task_id: str, terminate: bool) -> None:
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
