"""Retry policies: when a failed task is tried again, and how often it may take its process down with it."""

import builtins
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate, TimeLimitExceeded
from celery.exceptions import TimeoutError as CeleryTimeoutError

from celery_fleet.store.headers import LOST, SINCE, as_count, as_moment
from celery_fleet.topology.model import RetryPolicy, TaskSettings

_TIME_LIMITS = (SoftTimeLimitExceeded, TimeLimitExceeded, TimeoutError, CeleryTimeoutError)
"""A policy that names one of them, or a base of one, retries tasks that exceed a time limit, soft or hard."""


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


def age(headers: Mapping[str, Any] | None) -> float:
    """Seconds since the task of a message was first due; 0 if it does not say."""
    since = as_moment((headers or {}).get(SINCE))
    return time.time() - since if since else 0.0


def losses(headers: Mapping[str, Any] | None) -> int:
    """How many processes that held the task of a message have died."""
    return as_count((headers or {}).get(LOST))


@dataclass(frozen=True)
class Retries:
    """A retry policy, with the exceptions that it names."""

    policy: RetryPolicy
    exceptions: tuple[type[BaseException], ...]
    max_deliveries: int
    """How many processes a task may take down before it is given up."""

    @classmethod
    def of(cls, settings: TaskSettings) -> "Retries":
        """Raises ValueError for a name that is no exception class."""
        named = exception_classes(settings.retry.exceptions)
        return cls(settings.retry, named, settings.max_deliveries)

    @property
    def time_limits(self) -> bool:
        """Whether a task that exceeds a time limit is retried."""
        return any(issubclass(each, self.exceptions) for each in _TIME_LIMITS)

    def allow(self, request: Any) -> bool:
        """Whether the task of a request (a Context) may be tried again after an exception."""
        return may_retry(self.policy, request.retries, age(request.headers))

    def exhausted_by(self, request: Any) -> bool:
        """Whether the task of a request was tried again for as often or as long as it may be."""
        return request.retries > 0 and not self.allow(request)


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


def retrying(run: Callable[..., Any], find_task: Callable[[], Any], retries: Retries) -> Callable[..., Any]:
    """`run`, with the task retried by the policy when one of its exceptions leaves it."""
    caught = retries.exceptions + ((SoftTimeLimitExceeded,) if retries.time_limits else ())

    @wraps(run)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except TaskPredicate:  # Retry, Ignore, Reject: the task has decided itself
            raise
        except caught as error:
            _retry(find_task(), retries, error)
            raise

    return attempt


def _retry(task: Any, retries: Retries, error: BaseException) -> None:
    """Raises Retry, or returns when the policy is exhausted or nobody is there to retry for."""
    request = task.request
    if request.called_directly or not retries.allow(request):
        return
    countdown = retry_delay(retries.policy, request.retries)
    try:
        # The policy has decided; the limit that Celery checks again must not object.
        task.retry(exc=error, countdown=countdown, max_retries=request.retries + 1)
    finally:
        task.__dict__.pop("override_max_retries", None)
