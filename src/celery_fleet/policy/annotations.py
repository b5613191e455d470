"""What the topology says about each task, put on its class when Celery binds it to the app."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from celery.app.annotations import prepare
from celery.app.task import Task

from celery_fleet.topology.model import TaskSettings, Topology

from .priority import SCALES, Scale
from .resending import own_retries, signatures
from .retry import Retries, retrying
from .softlimit import softly_limited, under_gevent

_LIMITS = {"time_limit", "soft_time_limit"}

_Wrapper = Callable[[Callable[..., Any], Callable[[], Any]], Callable[..., Any]]
"""Makes a `run` of another, and of what finds the task."""


class TaskAnnotations:
    """The `task_annotations` object: limits, retry policy and request class of every task of the app.

    A task's own limits hold where they are tighter; its own `autoretry_for`, `max_retries` and
    `default_retry_delay` stay. The app's own annotations win. Celery's built-in tasks only learn the scale.

    `request_class` makes the request class of a task from the one that it has; `settings_for` tells how a task
    of a name is run, the topology alone if it is not given. `default_priority` is what the app's own
    configuration gives every task: the queues have theirs.
    """

    def __init__(
        self,
        topology: Topology,
        request_class: Callable[[Any], type] | None = None,
        own_annotations: object = None,
        *,
        settings_for: Callable[[str], TaskSettings] | None = None,
        scale: Scale = SCALES["fleet"],
        default_priority: int | None = None,
    ) -> None:
        self._default_priority = default_priority
        self._settings_for = settings_for or topology.settings_for
        self._request_class = request_class
        self._own = prepare(own_annotations)
        self._scale = scale
        self._retries = {settings: Retries.of(settings) for settings in _all_settings(topology)}

    def annotate(self, task: type[Task]) -> dict[str, Any]:
        own = self._first("annotate", task)
        if task.priority is not None and task.priority == self._default_priority:
            own = {"priority": None, **own}
        if task.name.startswith("celery."):
            return signatures(task, self._scale) | own
        settings = self._settings_for(task.name)
        retries = self._retries[settings]
        found = {
            **_limits(task, settings),
            **_own_retries(task, settings),
            **signatures(task, self._scale, settings.retry.queue),
            **own_retries(task, retries, _says(task, "max_retries"), _says(task, "default_retry_delay")),
            "_get_exec_options": _without_limits(task._get_exec_options),
            "fleet_retries": retries,
        }
        if task.reject_on_worker_lost:
            # Celery would deliver it without end; the request sends it again, and counts.
            found |= {"reject_on_worker_lost": False, "retry_on_worker_lost": True}
        if self._request_class:
            found["Request"] = self._request_class(task.Request)
        wrappers: list[_Wrapper] = [softly_limited] if under_gevent() else []
        if not getattr(task, "autoretry_for", ()) and settings.retry.max_retries != 0:
            wrappers.append(partial(retrying, retries=retries))
        if wrappers:
            found["run"] = _wrapped(task, wrappers)
        return found | own

    def annotate_any(self) -> dict[str, Any]:
        return self._first("annotate_any")

    def _first(self, method: str, *args: Any) -> dict[str, Any]:
        answers = (getattr(own, method)(*args) for own in self._own if hasattr(own, method))
        return next((answer for answer in answers if answer), {})


def _wrapped(task: type[Task], wrappers: Iterable[_Wrapper]) -> Any:
    """The task's `run`, of the kind that it is, in these wrappers; the last is outermost."""
    run = inspect.getattr_static(task, "run")
    static = isinstance(run, staticmethod)
    attempt = run.__func__ if static else run
    for wrapper in wrappers:
        attempt = wrapper(attempt, lambda: task.app.tasks[task.name])
    return staticmethod(attempt) if static else attempt


def _all_settings(topology: Topology) -> list[TaskSettings]:
    return [queue.settings for queue in topology.queues.values()] + [
        route.settings for route in topology.routes
    ]


def _limits(task: type[Task], settings: TaskSettings) -> dict[str, Any]:
    hard = _tighter(task.time_limit, settings.time_limit)
    soft = _tighter(task.soft_time_limit, settings.soft_time_limit)
    # A soft limit at or above the hard one would never be felt, and apply_async refuses it.
    return {"time_limit": hard, "soft_time_limit": soft if soft is None or soft < hard else None}


def _without_limits(options: Callable[[Task], dict[str, Any]]) -> Callable[[Task], dict[str, Any]]:
    """What a task gives each of its messages, but no limits: those of the worker hold, and not of whoever sends."""

    def _get_exec_options(self: Task) -> dict[str, Any]:
        return {name: value for name, value in options(self).items() if name not in _LIMITS}

    return _get_exec_options


def _tighter(own: float | None, topology: float | None) -> Any:
    return min((limit for limit in (own, topology) if limit), default=None)


def _own_retries(task: type[Task], settings: TaskSettings) -> dict[str, Any]:
    """What shows as the task's limit and delay, where the task does not say."""
    policy = {"max_retries": settings.retry.max_retries, "default_retry_delay": settings.retry.delay}
    return {name: value for name, value in policy.items() if not _says(task, name)}


def _says(task: type[Task], name: str) -> bool:
    return next(each for each in task.__mro__ if name in vars(each)) is not Task
