"""The JSON routes. Each module has a `router` with full paths; an alias for older clients is not in the OpenAPI document."""

from . import (
    alerts,
    audit,
    dashboards,
    dead_letters,
    figures,
    flows,
    health,
    live,
    metrics,
    queues,
    schedules,
    tasks,
    workers,
)

modules = [
    # More exact paths come first: /tasks/metrics is no task.
    figures,
    flows,
    tasks,
    dead_letters,
    queues,
    workers,
    schedules,
    alerts,
    audit,
    live,
    dashboards,
    metrics,
    health,
]
