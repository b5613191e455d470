"""Retry policies: when a failed task is tried again, and the wrapper that makes it so."""

import builtins
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import Any

from celery.exceptions import Reject, TaskPredicate

from celery_fleet.topology.model import RetryPolicy

SINCE = "fleet_since"
"""Message header: when the task was first due (seconds since the epoch). Retries carry it on."""


def retry_delay(
    policy: RetryPolicy, retries: int, jitter: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to wait after a failed attempt that `retries` retries came before.

    delay * backoff**retries, at most max_delay; jitter takes up to a quarter off, so that tasks which failed
    together do not come back together.
    """
    try:
        delay = min(policy.delay * policy.backoff**retries, float(policy.max_delay))
    except OverflowError:
        delay = float(policy.max_delay)
    return delay * jitter(0.75, 1.0) if policy.jitter else delay


def may_retry(policy: RetryPolicy, retries: int, age: float) -> bool:
    """Whether a task that was retried `retries` times, and first due `age` seconds ago, is tried again."""
    return (policy.max_retries is None or retries < policy.max_retries) and (
        policy.max_age is None or age < policy.max_age
    )


def exception_classes(names: tuple[str, ...]) -> tuple[type[BaseException], ...]:
    """The classes with these builtin or dotted names. Raises ValueError for what is no exception class."""
    return tuple(_exception_class(name) for name in names)


def _exception_class(name: str) -> type[BaseException]:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module) if module else builtins, attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name} is not an exception that can be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise ValueError(f"{name} is not an exception class")
    return found


def stamp_since(headers: dict[str, Any] | None = None, **_: object) -> None:
    """Receiver of `before_task_publish`: notes in the message when the task is first due."""
    if headers is not None and SINCE not in headers:
        eta = headers.get("eta")
        headers[SINCE] = datetime.fromisoformat(eta).timestamp() if eta else time.time()


def retrying(
    run: Callable[..., Any],
    find_task: Callable[[], Any],
    policy: RetryPolicy,
    exceptions: tuple[type[BaseException], ...],
) -> Callable[..., Any]:
    """`run`, with the task retried by the policy when one of the exceptions leaves it."""

    @wraps(run)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except TaskPredicate:  # Retry, Ignore, Reject: the task has decided itself
            raise
        except exceptions as error:
            _retry(find_task(), policy, error)
            raise

    return attempt


def _retry(task: Any, policy: RetryPolicy, error: BaseException) -> None:
    """Raises Retry, or returns when the policy is exhausted or nobody is there to retry for."""
    request = task.request
    since = (request.headers or {}).get(SINCE)
    age = time.time() - since if since else 0.0
    if request.called_directly or not may_retry(policy, request.retries, age):
        return
    try:
        # The policy has decided; the limit that Celery checks again must not object.
        task.retry(exc=error, countdown=retry_delay(policy, request.retries), max_retries=request.retries + 1)
    except Reject as refused:
        # The retry could not be published. Celery would drop the task; back to the queue it goes instead.
        raise Reject(refused.reason, requeue=True) from error
    finally:
        task.__dict__.pop("override_max_retries", None)
