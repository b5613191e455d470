"""Which of a worker's tasks go on when its connection is lost, for each kind of pool."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery.worker import state


class Running:
    """The tasks that the pool of one worker has in hand."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._requests: set[Any] = set()

    def note(self) -> None:
        """The connection is lost; Celery forgets next what it has not begun."""
        self._requests |= (
            set(state.active_requests) | set(state.reserved_requests) | set(state.requests.values())
        )

    def messages(self) -> Iterable[Any]:
        """The messages of the noted tasks that run on."""
        pool = self._worker.pool
        found = [request.message for request in self._requests if _goes_on(request, pool)]
        self._requests.clear()
        return found

    def occupy_slots(self) -> None:
        """Celery counts all slots of a prefork pool as free after a reconnect: those in use are taken again."""
        semaphore, jobs = getattr(self._worker, "semaphore", None), _jobs(self._worker.pool)
        if semaphore is not None and jobs is not None:
            semaphore.value = max(0, semaphore.initial_value - len(jobs))


def _goes_on(request: Any, pool: Any) -> bool:
    if request._apply_result is None or request._already_cancelled:
        return False
    jobs = _jobs(pool)
    job = request._apply_result()
    if jobs is not None:
        return job is not None and job._job in jobs
    if getattr(pool, "is_green", False):
        return job is not None and not job.dead
    return True


def _jobs(pool: Any) -> Any | None:
    return getattr(getattr(pool, "_pool", None), "_cache", None)


def keep_begun_jobs(pool: Any) -> None:
    """Has the flush of a prefork pool, which follows a lost connection, forget only what no child was given.

    Celery's forgets what no child has confirmed, and a child that was given it runs it nevertheless.
    """
    flush = getattr(pool, "flush", None)
    jobs = _jobs(pool)
    if jobs is not None and flush is not None and not hasattr(flush, "fleet"):
        pool.flush = _careful(jobs, flush)


def _careful(jobs: Mapping[Any, Any], flush: Callable[[], None]) -> Callable[[], None]:
    def careful() -> None:
        given = [job for job in jobs.values() if not job._accepted and job._write_to is not None]
        for job in given:
            job._accepted = True
        try:
            flush()
        finally:
            for job in given:
                job._accepted = False

    careful.fleet = True  # type: ignore[attr-defined]
    return careful
