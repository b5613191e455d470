"""What a worker has done since it started, counted in its main process, and the line that tells it."""

from collections.abc import Iterable
from dataclasses import dataclass

from celery.worker import state as celery_state


@dataclass
class Tally:
    """Ends of tasks that were no success, since the worker started."""

    failed: int = 0
    retried: int = 0
    revoked: int = 0

    @property
    def done(self) -> int:
        """Tasks that succeeded."""
        ended: int = celery_state.all_total_count[0] - len(celery_state.active_requests)
        return max(0, ended - self.failed - self.retried - self.revoked)


tally = Tally()


def status_line(busy: int, slots: int, done: int, failed: int, queues: Iterable[str]) -> str:
    """
    >>> status_line(3, 4, 1204, 2, ["celery", "email"])
    '3/4 busy, 1204 done, 2 failed, queues: celery,email'
    """
    return f"{busy}/{slots} busy, {done} done, {failed} failed, queues: {','.join(queues)}"
