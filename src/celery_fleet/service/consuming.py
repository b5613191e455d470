"""What can be seen of a Celery worker from another thread: what it consumes, and who holds its credit.

Nothing here waits, takes a lock or talks to the broker; `reap` is for the main loop only.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from celery.concurrency.base import apply_target
from celery.worker import state

from . import recorder

OVERDUE = 30.0
"""Seconds beyond its hard limit after which a task is no longer believed to run."""


def held_queues(consumer: Any) -> list[str]:
    """The names of the queues that a Celery consumer takes messages from at this moment."""
    tasks = consumer and consumer.task_consumer
    return [queue.name for queue in tasks.queues if tasks.consuming_from(queue)] if tasks else []


def wanted_queues(worker: Any) -> list[str]:
    """The names of the queues that it should consume: all but those that an operator has cancelled."""
    return list(worker.app.amqp.queues.consume_from)


def has_credit(consumer: Any) -> bool:
    """Whether it may take another message."""
    return bool(consumer.task_consumer.channel.qos.can_consume())


def asked_at(consumer: Any) -> float | None:
    """When it last asked the broker for messages, by the monotonic clock: a read is sent anew each second."""
    sent: float | None = consumer.task_consumer.channel._brpop_sent_at
    return sent


def main_loop_runs_task(worker: Any) -> bool:
    """Whether the main loop runs a task itself at this moment: only that of a solo pool does.

    An active request proves nothing, so this looks for the call in the stack of the main thread.
    """
    if _kind(worker) != "solo" or not state.active_requests:
        return False
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code is not apply_target.__code__:
        frame = frame.f_back
    return frame is not None


def has_children(worker: Any) -> bool:
    """Whether tasks run in processes of their own."""
    return _kind(worker) == "prefork"


def reap(worker: Any) -> None:
    """Replaces the children that have died, and has the ends of their tasks told. For the main loop."""
    if worker.pool._pool:
        worker.pool._pool.maintain_pool()


def has_greenlets(worker: Any) -> bool:
    return _kind(worker) == "gevent"


def waits_for_slot(worker: Any) -> bool:
    """Whether handing over a task may hold up the main loop: a gevent pool that is full waits for a greenlet."""
    pool = worker.pool
    return has_greenlets(worker) and pool._pool is not None and len(pool._pool_map) >= pool.limit


def holders(worker: Any) -> int:
    """How many tasks really hold what the worker has taken: they run within their limits, wait for their time, or
    have failed and wait for the store to take their dead letters.

    A request alone proves nothing: that of a greenlet, thread or child that died with an error of its own stays
    among the active ones for ever.
    """
    active = running(worker)
    waiting = len(state.scheduled_requests) + sum(
        len(bucket.contents) for bucket in list(worker.consumer.task_buckets.values()) if bucket
    )
    return min(len(active), _alive(worker)) + waiting + recorder.holding()


def kind(worker: Any) -> str:
    """prefork, threads, gevent or solo."""
    return _kind(worker)


def running(worker: Any) -> list[Any]:
    """The requests of the tasks that its pool runs, as far as they are within their limits."""
    return [request for request in _members(state.active_requests) if not _overdue(request, worker)]


def children(worker: Any) -> list[int]:
    """The processes of its pool, if it has any."""
    pool = worker.pool._pool if has_children(worker) else None
    return [child.pid for child in list(pool._pool)] if pool else []


def _alive(worker: Any) -> int:
    """How many tasks run, as the pool itself knows."""
    pool, kind = worker.pool, _kind(worker)
    if kind == "gevent":
        return len(pool._pool_map)
    if kind == "threads":
        return len(pool.executor._threads) - int(pool.executor._idle_semaphore._value)
    if kind == "prefork":
        return _unfinished_jobs(pool._pool) if pool._pool else 0
    return int(main_loop_runs_task(worker))


def _unfinished_jobs(pool: Any) -> int:
    """Jobs that living children have accepted and not ended. A child that idles lives, too."""
    children = {child.pid for child in list(pool._pool)}
    jobs = [job for job in list(pool._cache.values()) if not job.ready()]
    return sum(not children.isdisjoint(job.worker_pids()) for job in jobs)


def _overdue(request: Any, worker: Any) -> bool:
    """Whether its pool should have ended it long ago. Threads and solo enforce no limit, so there it never is."""
    if _kind(worker) not in ("prefork", "gevent") or request.time_start is None:
        return False
    limit = request.time_limits[0] or request.task.time_limit or worker.time_limit
    return bool(limit) and time.time() - request.time_start > limit + OVERDUE


def _kind(worker: Any) -> str:
    name = type(worker.pool).__module__.rpartition(".")[2]
    return "threads" if name == "thread" else str(name)


def _members(requests: Any) -> Iterator[Any]:
    """The members of a WeakSet that another thread changes: the copy of the set beneath it is made in one step."""
    return filter(None, (reference() for reference in requests.data.copy()))
