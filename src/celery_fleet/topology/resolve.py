"""From variables that were read to a `Topology`: a route inherits from its queue, a queue from the fleet."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from .fields import filled
from .model import BeatEntry, QueueSettings, RetryPolicy, Route, TaskSettings, Topology
from .variables import BEAT, FLEET, FOREVER, QUEUE, RETRY

Values = Mapping[str, Any]


def resolve(variables: Values) -> Topology:
    """The topology of the variables; routes and beat entries that were not read whole are left out."""
    fleet = filled(FLEET, variables)
    queues = fleet["celery_queues"]
    return Topology(
        app=fleet.get("celery_app", ""),
        default_queue=fleet["celery_default_queue"],
        queues={
            name: QueueSettings(name, filled(QUEUE, queue)["urgency"], task_settings(fleet, name))
            for name, queue in queues.items()
        },
        routes=tuple(
            Route(route["task"], task_settings(fleet, route["queue"], route))
            for route in fleet["celery_task_routes"]
            if "task" in route and route.get("queue") in queues
        ),
        beat={
            name: _beat_entry(name, entry)
            for name, entry in fleet["celery_beat_schedule"].items()
            if "task" in entry and "schedule" in entry
        },
        task_types=fleet["celery_task_types"],
        sensitive_arguments=tuple(fleet["celery_sensitive_arguments"]),
        delivery=fleet["celery_delivery"],
        recovery_timeout=fleet["celery_recovery_timeout"],
        dead_letter_limit=fleet["celery_dead_letter_limit"],
        dead_letter_age=fleet["celery_dead_letter_age"],
        task_index_limit=fleet["celery_task_index_limit"],
    )


def task_settings(fleet: Values, queue: str, route: Values | None = None) -> TaskSettings:
    """The settings of the tasks of a queue, or of those of its tasks that a route names."""
    own, of_queue = dict(route or {}), fleet["celery_queues"][queue]
    limits = {
        "time_limit": fleet["celery_time_limit"],
        "soft_time_limit": fleet["celery_soft_time_limit"],
        "max_deliveries": fleet["celery_max_deliveries"],
    }
    merged = ChainMap(own, filled(QUEUE, of_queue), limits)
    retry = ChainMap(own.get("retry", {}), of_queue.get("retry", {}), fleet["celery_retry"])
    return TaskSettings(
        queue=queue,
        priority=merged["priority"],
        time_limit=merged["time_limit"],
        soft_time_limit=merged["soft_time_limit"],
        retry=retry_policy(retry),
        max_deliveries=merged["max_deliveries"],
        sensitive=merged["sensitive"],
    )


def retry_policy(values: Values) -> RetryPolicy:
    """The retry policy of the values, with the defaults for what they do not say."""
    retry = filled(RETRY, values)
    return RetryPolicy(
        **{
            **retry,
            "max_retries": None if retry["max_retries"] == FOREVER else retry["max_retries"],
            "exceptions": tuple(retry["exceptions"]),
        }
    )


def _beat_entry(name: str, values: Values) -> BeatEntry:
    entry = filled(BEAT, values)
    return BeatEntry(**{**entry, "name": name, "args": tuple(entry["args"])})
