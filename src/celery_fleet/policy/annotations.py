"""What the topology says about each task, put on its class when Celery binds it to the app."""

import inspect
from collections.abc import Callable
from typing import Any

from celery.app.annotations import prepare
from celery.app.task import Task

from celery_fleet.topology.model import TaskSettings, Topology

from .retry import exception_classes, retrying


class TaskAnnotations:
    """The `task_annotations` object: limits, retry policy and request class of every task of the app.

    A task's own limits hold where they are tighter; its own `autoretry_for`, `max_retries` and
    `default_retry_delay` stay. The app's own annotations win. Celery's built-in tasks are left alone.

    `request_class` makes the request class of a task from the one that it has.
    """

    def __init__(
        self,
        topology: Topology,
        request_class: Callable[[Any], type] | None = None,
        own_annotations: object = None,
    ) -> None:
        self._topology = topology
        self._request_class = request_class
        self._own = prepare(own_annotations)
        self._exceptions = {
            names: exception_classes(names)
            for names in {settings.retry.exceptions for settings in _all_settings(topology)}
        }

    def annotate(self, task: type[Task]) -> dict[str, Any]:
        own = self._first("annotate", task)
        if task.name.startswith("celery."):
            return own
        settings = self._topology.settings_for(task.name)
        found = {**_limits(task, settings), **_own_retries(task, settings)}
        if self._request_class:
            found["Request"] = self._request_class(task.Request)
        if not getattr(task, "autoretry_for", ()) and settings.retry.max_retries != 0:
            found["run"] = self._retrying(task, settings)
        return found | own

    def annotate_any(self) -> dict[str, Any]:
        return self._first("annotate_any")

    def _first(self, method: str, *args: Any) -> dict[str, Any]:
        answers = (getattr(own, method)(*args) for own in self._own if hasattr(own, method))
        return next((answer for answer in answers if answer), {})

    def _retrying(self, task: type[Task], settings: TaskSettings) -> Any:
        run = inspect.getattr_static(task, "run")
        static = isinstance(run, staticmethod)
        attempt = retrying(
            run.__func__ if static else run,
            lambda: task.app.tasks[task.name],
            settings.retry,
            self._exceptions[settings.retry.exceptions],
        )
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


def _tighter(own: float | None, topology: float | None) -> Any:
    return min((limit for limit in (own, topology) if limit), default=None)


def _own_retries(task: type[Task], settings: TaskSettings) -> dict[str, Any]:
    """What `self.retry()` without arguments and the loss of a process go by, where the task does not say."""
    policy = {"max_retries": settings.retry.max_retries, "default_retry_delay": settings.retry.delay}
    return {name: value for name, value in policy.items() if not _says(task, name)}


def _says(task: type[Task], name: str) -> bool:
    return next(each for each in task.__mro__ if name in vars(each)) is not Task
