"""The request of a task in the worker's main process: tells its ends, and what follows from those that kill.

A task that exceeds its hard limit, or whose process dies, has nobody left in its process who could retry it:
that is done here. The retry is published before the message is acknowledged. When the main process dies in
between, both are delivered: the same task, with the same id, runs once more.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, wraps
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals
from celery._state import _task_stack
from celery.exceptions import (
    Ignore,
    InvalidTaskError,
    MaxRetriesExceededError,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.utils.dispatch import Signal
from celery.utils.imports import symbol_by_name
from celery.utils.saferepr import saferepr
from celery.worker import state as celery_state
from celery.worker.request import Request

from celery_fleet.policy.retry import Retries, losses, retry_delay
from celery_fleet.store.headers import LOST

from . import cancel, recorder
from .cancel import TaskCancelledError
from .showing import shown
from .state import tally
from .tasklog import telling_of

log = logging.getLogger(__name__)

attempt_lost: Any = Signal(name="attempt_lost", providing_args={"request", "error"})
"""The process of an attempt is killed; without an error: because the task was cancelled. The sender is the task."""

_REPR_LIMIT = 1024
_EXITS = (SystemExit, KeyboardInterrupt)


def fleet_request(base: type[Request] | str) -> type[Request]:
    """The request class of a task that has `base`."""
    return _fleet_request(symbol_by_name(base))


@cache
def _fleet_request(base: type[Request]) -> type[Request]:
    if issubclass(base, FleetRequest):
        return base
    return type("Request", (FleetRequest, base), {})


def _telling_success(on_success: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(on_success)
    def told(
        self: "FleetRequest", failed__retval__runtime: tuple[Any, Any, float | None], **options: Any
    ) -> Any:
        failed, _, runtime = failed__retval__runtime
        # False: of a greenlet that was killed; who did that settles its message, too. 0: of a task that was delivered
        # again though it had succeeded, and was not run.
        if failed is False and runtime is None:
            return None
        result = on_success(self, failed__retval__runtime, **options)
        if not failed and runtime is not None:
            recorder.succeeded(self, runtime)
        return result

    return told


class FleetRequest(Request):  # type: ignore[misc]
    """Mixed into every request class."""

    _is_ended = False
    is_dead = False
    """Whether it has a dead letter; set by the recorder."""
    received_at: float | None = None
    """When it came; set by the recorder."""

    def __init_subclass__(cls, **options: Any) -> None:
        # Celery makes a subclass for each task, with an `on_success` that calls none of its bases.
        super().__init_subclass__(**options)
        if "on_success" in vars(cls):
            cls.on_success = _telling_success(vars(cls)["on_success"])

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        call = shown(self.task, self)
        if call.hides:  # a producer that knows nothing of the fleet may say more
            self._argsrepr = saferepr(tuple(call.args), _REPR_LIMIT)
            self._kwargsrepr = saferepr(call.kwargs, _REPR_LIMIT)
            self.request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        recorder.received(self)

    def info(self, safe: bool = False) -> dict[str, Any]:
        # What `inspect active` and Flower show
        call = shown(self.task, self)
        told: dict[str, Any] = super().info(safe)
        return told | {"args": call.args, "kwargs": call.kwargs} if call.hides and not safe else told

    def send_event(self, type: str, **fields: Any) -> Any:
        call = shown(self.task, self)
        told = {
            name: call.scrub(value) if isinstance(value, str) else value for name, value in fields.items()
        }
        return super().send_event(type, **told)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        recorder.started(self)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        with telling_of(self.task, self._context, self.id):
            if soft:
                super().on_timeout(soft, timeout)
            elif self._is_ended:
                return
            elif not _stopping_cold():
                self._on_time_limit(timeout)
            else:
                # Not acknowledged, the message goes back to its queue when the worker lets go of it.
                celery_state.task_ready(self)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        error = _error(exc_info)
        if isinstance(error, TimeLimitExceeded) and not return_ok:
            # billiard calls on_timeout next, which does all that is to be done, unless nothing runs any more: a
            # process that died is only missed when the pool next looks for it, which its limit may come before.
            if _exists(self.worker_pid):
                return
            self._is_ended = True
            error = WorkerLostError(
                f"Worker exited prematurely, before the hard time limit of {error.args[0]} s"
            )
            exc_info = _info(error)
        with telling_of(self.task, self._context, self.id):
            if isinstance(error, MemoryError):  # Celery would never let go of its message
                exc_info = self._worker_lost_info(error)
                error = _error(exc_info)
            if self._is_loss(error) and self._on_loss(error, exc_info):
                return
            self._tell(error, exc_info)
            with self._as_current_task():
                super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def acknowledge(self) -> None:
        if not recorder.holds(self):  # else it is done when its dead letter is stored
            super().acknowledge()

    def reject(self, requeue: bool = False) -> None:
        if not requeue and not self.is_dead:  # Celery drops a task whose ETA is no time
            recorder.failed(self, InvalidTaskError("the task was refused"), None, "invalid")
        if requeue or not recorder.holds(self):
            super().reject(requeue)

    def revoked(self) -> bool:
        cancel.learn_mark(self.id)
        return bool(super().revoked())

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)
        if terminated:
            attempt_lost.send(sender=self.task, request=self, error=None)
        recorder.revoked(self)

    def _retry_worker_lost(self, *_: object) -> bool:
        return False  # on_failure has decided

    @property
    def _retries(self) -> Retries:
        found: Retries = self.task.fleet_retries
        return found

    def _on_time_limit(self, limit: float) -> None:
        error = TimeLimitExceeded(limit)
        exc_info = _info(error)
        attempt_lost.send(sender=self.task, request=self, error=error)
        request = self._context
        if self._retries.time_limits and self._retries.allow(request):
            log.warning("Hard time limit of %g s exceeded, the process is killed", limit)
            # Not at once: the process that is to be killed still runs the task.
            delay = max(1.0, retry_delay(self._retries.policy, request.retries))
            self._send_again(error, exc_info, delay, request.retries + 1)
        else:
            tally.failed += 1
            recorder.failed(self, error, exc_info, self._reason(error))
            with self._as_current_task():
                super().on_timeout(soft=False, timeout=limit)

    def _is_loss(self, error: BaseException) -> bool:
        if isinstance(error, _EXITS):  # the process is gone; unless the worker has ended the task itself
            return not (self._already_cancelled or self._already_revoked)
        return isinstance(error, WorkerLostError) and not self._success_was_stored()

    def _on_loss(self, error: BaseException, exc_info: Any) -> bool:
        """Sends a task again whose process has died, unless that was once too often: then it returns False."""
        attempt_lost.send(sender=self.task, request=self, error=error)
        if _stopping_cold():
            celery_state.task_ready(self)  # as with a time limit
            return True
        if isinstance(error, _EXITS):
            exc_info = self._worker_lost_info(error)
            error = _error(exc_info)
        request = self._context
        before = losses(request.headers)
        request.headers = {**(request.headers or {}), LOST: before + 1}
        if not self.task.retry_on_worker_lost or before + 1 >= self._retries.max_deliveries:
            return False
        # It was not the task that failed: its retries are not counted.
        self._send_again(error, exc_info, retry_delay(self._retries.policy, before), request.retries)
        return True

    def _send_again(self, error: BaseException, exc_info: Any, delay: float, retries: int) -> None:
        """What `Task.retry` does, in the main process."""
        task, request = self.task, self._context
        celery_state.task_ready(self)
        if self.store_errors:  # before it is published: it may be running right after
            task.backend.mark_as_retry(self.id, error, exc_info.traceback, request=request)
        try:
            task.signature_from_request(request, countdown=delay, retries=retries).apply_async()
        except Exception:
            log.exception("A retry could not be published, the task goes back to its queue")
            self.reject(requeue=True)
            return
        tally.retried += 1
        recorder.retried(self, error, datetime.now(UTC) + timedelta(seconds=delay))
        if task.acks_late:
            self.acknowledge()
        self.send_event("task-retried", exception=saferepr(error), traceback=str(exc_info.traceback))
        with self._as_current_task():
            task.on_retry(error, self.id, self.args, self.kwargs, exc_info)
            reason = Retry(exc=error, when=delay)
            signals.task_retry.send(sender=task, request=request, reason=reason, einfo=exc_info)

    def _tell(self, error: BaseException, exc_info: Any) -> None:
        """Counts and records an end that is no success, before the message is acknowledged."""
        if isinstance(error, Retry):
            tally.retried += 1
            recorder.retried(self, error.exc or error, _eta(error.when))
        elif isinstance(error, Terminated):  # recorded when it is announced
            tally.revoked += 1
        elif isinstance(error, TaskCancelledError):
            tally.revoked += 1
            recorder.revoked(self)
        elif isinstance(error, Ignore):
            recorder.ignored(self)
        elif not (isinstance(error, Reject) and error.requeue):
            tally.failed += 1
            recorder.failed(self, error, exc_info, self._reason(error))

    def _reason(self, error: BaseException) -> str:
        """Why a task is a dead letter, as `store.deadletters.REASONS` has it."""
        request = self._context
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt):
            return "poison" if losses(request.headers) > 1 else "worker_lost"
        if isinstance(error, Reject):
            return "rejected"
        limit = self.task.max_retries
        used_up = self._retries.exhausted_by(request) or (limit is not None and 0 < limit <= request.retries)
        if used_up or isinstance(error, MaxRetriesExceededError):
            return "exhausted"
        return "time_limit" if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded) else "failed"

    @contextmanager
    def _as_current_task(self) -> Iterator[None]:
        """What is sent meanwhile, such as errbacks, is sent by this task: it inherits its priority."""
        self._context.called_directly = False
        _task_stack.push(self.task)
        self.task.request_stack.push(self._context)
        try:
            yield
        finally:
            self.task.request_stack.pop()
            _task_stack.pop()


def _error(exc_info: Any) -> BaseException:
    error: BaseException = exc_info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error  # as it comes from a child


def _info(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except type(error):
        info = ExceptionInfo()
    error.__traceback__ = None  # it would keep this frame, and all that led here
    return info


def _exists(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and is another user's
        return True
    return True


def _eta(when: float | datetime | None) -> datetime | None:
    return when if when is None or isinstance(when, datetime) else datetime.now(UTC) + timedelta(seconds=when)


def _stopping_cold() -> bool:
    return celery_state.should_terminate is not None and celery_state.should_terminate is not False
