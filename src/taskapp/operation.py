"""What every task of the app has in common.

A task made by `operation` is bound, validates its parameters by their annotations and ends in one of four
ways:

- it returns `{"status": "success", "result": {...}}`;
- bad parameters and `FatalError` are logged and returned as `{"status": "error", "message": "..."}`;
- a transient error is retried by the task's retry policy, and fails when that is exhausted;
- a cancelled task ends in the state REVOKED.

Any other exception is a failure of the task.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from celery import Task, states
from celery.contrib.abortable import ABORTED
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from celery.worker import state as worker_state
from pydantic import ConfigDict, ValidationError, validate_call

from taskapp.app import app
from taskapp.errors import CancelledError, FatalError

logger = get_task_logger(__name__)


class Operation(Task):  # type: ignore[misc]  # Celery is not typed
    """Base of all tasks: the retry policy of an app that is run on its own.

    It is a base class and not a list of decorator options because `task_annotations` override attributes
    only: whoever deploys the app decides.
    """

    abstract = True
    max_retries = 3
    default_retry_delay = 60
    autoretry_for: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, SoftTimeLimitExceeded)


def operation(name: str, *, base: type[Operation] = Operation) -> Callable[[Callable[..., Any]], Any]:
    """Make a task called `name` of a function `(self, ...) -> JSON-able result`."""

    def decorate(function: Callable[..., Any]) -> Any:
        validated = validate_call(config=ConfigDict(hide_input_in_errors=True))(function)

        @functools.wraps(function)
        def run(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            try:
                return {"status": "success", "result": validated(self, *args, **kwargs)}
            except ValidationError as error:
                message = describe(error)
            except FatalError as error:
                message = str(error)
            except CancelledError as error:
                logger.warning("Task revoked task_id=%s terminated=False", self.request.id)
                self.backend.mark_as_revoked(self.request.id, reason=str(error), request=self.request)
                raise Ignore(str(error)) from None
            logger.error("Fatal error in %s: %s", name, message)
            return {"status": "error", "message": message}

        return app.task(name=name, bind=True, base=base)(run)

    return decorate


def describe(error: ValidationError) -> str:
    """What is wrong with which parameter, without the values: they may be personal."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)


class Checkpoint:
    """Between two steps of a long task: report progress, and stop if the task was cancelled.

    The result backend is asked and told at most once per `interval` seconds. A task is cancelled by
    `AbortableAsyncResult(task_id).abort()`, or by `revoke` where the pool shares the worker's process.
    """

    def __init__(self, task: Any, interval: float = 1.0) -> None:
        self._task = task
        self._interval = interval
        self._due = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` steps are over; `CancelledError` when the task is to stop."""
        request = self._task.request
        if request.called_directly or request.is_eager:
            return
        if request.id in worker_state.revoked:
            raise CancelledError("revoked")
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._interval
        try:
            state = self._task.AsyncResult(request.id).state
            if state not in {ABORTED, states.REVOKED}:
                self._task.update_state(state="PROGRESS", meta={"done": done, "total": total})
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            # A backend that is away, or is none, must not end hours of work.
            logger.warning("Progress not reported: %s", error)
            self._due = time.monotonic() + 60 * self._interval
            return
        if state in {ABORTED, states.REVOKED}:
            raise CancelledError(state.lower())
