"""The topology file of the hosts: what the runtime needs to know of the inventory, fully resolved."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .model import TaskSettings, Topology
from .problem import InvalidTopology
from .resolve import resolve
from .variables import FOREVER
from .work import read_work

VERSION = 1

# Keys of the file and the variables they are made from; the file is read back by the rules of those.
KEYS = {
    "app": "celery_app",
    "default_queue": "celery_default_queue",
    "queues": "celery_queues",
    "routes": "celery_task_routes",
    "beat": "celery_beat_schedule",
    "task_types": "celery_task_types",
    "sensitive_arguments": "celery_sensitive_arguments",
    "delivery": "celery_delivery",
    "recovery_timeout": "celery_recovery_timeout",
    "dead_letter_limit": "celery_dead_letter_limit",
    "dead_letter_age": "celery_dead_letter_age",
    "task_index_limit": "celery_task_index_limit",
}


def topology_document(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `topology.json`: `version`, and the keys of KEYS.

    Times are seconds; `max_retries` is a number or `forever`; a soft limit or a maximum age may be null.
    Raises InvalidTopology when the variables have faults.
    """
    values, problems = read_work(variables)
    if problems:
        raise InvalidTopology(problems, "the inventory")
    return as_document(resolve(values))


def as_document(topology: Topology) -> dict[str, Any]:
    """A topology as the content of its file."""
    return {
        "version": VERSION,
        "app": topology.app,
        "default_queue": topology.default_queue,
        "queues": {
            name: {"urgency": queue.urgency, **_settings(queue.settings)}
            for name, queue in topology.queues.items()
        },
        "routes": [
            {"task": route.task, "queue": route.settings.queue, **_settings(route.settings)}
            for route in topology.routes
        ],
        "beat": {
            name: {
                "task": entry.task,
                "schedule": entry.schedule,
                "args": list(entry.args),
                "kwargs": dict(entry.kwargs),
                "queue": entry.queue,
            }
            for name, entry in topology.beat.items()
        },
        "task_types": dict(topology.task_types),
        "sensitive_arguments": list(topology.sensitive_arguments),
        "delivery": topology.delivery,
        "recovery_timeout": topology.recovery_timeout,
        "dead_letter_limit": topology.dead_letter_limit,
        "dead_letter_age": topology.dead_letter_age,
        "task_index_limit": topology.task_index_limit,
    }


def _settings(settings: TaskSettings) -> dict[str, Any]:
    retry = asdict(settings.retry)
    return {
        "priority": settings.priority,
        "time_limit": settings.time_limit,
        "soft_time_limit": settings.soft_time_limit,
        "retry": {
            **retry,
            "max_retries": FOREVER if retry["max_retries"] is None else retry["max_retries"],
            "exceptions": list(settings.retry.exceptions),
        },
        "max_deliveries": settings.max_deliveries,
        "sensitive": settings.sensitive,
    }
