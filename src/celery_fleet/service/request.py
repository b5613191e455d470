"""The request of a task in the worker's main process: counts its end, bounds the loss of its processes."""

from functools import cache
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry, Terminated
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request

from .state import tally
from .tasklog import telling_of

LOST = "fleet_lost"
"""Message header: how many times the process that ran the task has died."""

MOST_LOSSES = 3
"""A task that outlives its process this often is tried again; the next death is its failure."""


def fleet_request(base: type[Request] | str) -> type[Request]:
    """The request class of a task that has `base`."""
    return _fleet_request(symbol_by_name(base))


@cache
def _fleet_request(base: type[Request]) -> type[Request]:
    if issubclass(base, FleetRequest):
        return base
    return type("Request", (FleetRequest, base), {})


class FleetRequest(Request):  # type: ignore[misc]
    """Mixed into every request class."""

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        with telling_of(self.task, self._context, self.id):
            return super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        retried = tally.retried
        try:
            with telling_of(self.task, self._context, self.id):
                return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        finally:
            error = exc_info.exception
            if isinstance(error, ExceptionWithTraceback):  # as it comes from a child
                error = error.exc
            if isinstance(error, Retry):
                tally.retried += 1
            elif isinstance(error, Terminated):
                tally.revoked += 1
            elif not isinstance(error, Ignore | Reject) and tally.retried == retried:
                tally.failed += 1

    def _retry_worker_lost(self, exc: BaseException, exc_info: Any) -> bool:
        # Without a count of its own, a task that is retried for ever could kill its process for ever.
        context = self._context
        losses = (context.headers or {}).get(LOST, 0)
        if losses >= MOST_LOSSES:
            return False
        context.headers = {**(context.headers or {}), LOST: losses + 1}
        retried = bool(super()._retry_worker_lost(exc, exc_info))
        tally.retried += retried
        return retried
