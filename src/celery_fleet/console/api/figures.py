"""`/api/v1/tasks/metrics` and `/api/v1/tasks/health`, also without `/api/v1`."""

from typing import Annotated

from fastapi import APIRouter, Query

from celery_fleet.console.auth import Viewer
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.models.tasks import TaskHealth, TaskMetrics
from celery_fleet.console.tasks import metrics

from .aliases import with_alias

router = APIRouter(tags=["tasks"])

_LONGEST = 8 * 86_400
"""Seconds for which figures are kept in buckets."""


def task_metrics(
    fleet: FleetOf,
    _: Viewer,
    window: Annotated[
        int | None, Query(ge=10, le=_LONGEST, description="Of the last so many seconds alone.")
    ] = None,
) -> TaskMetrics:
    """How tasks ended, since the fleet's state began; restarts of anything lose nothing of it."""
    return metrics.metrics(fleet, window)


def task_health(
    fleet: FleetOf,
    _: Viewer,
    window: Annotated[int, Query(ge=10, le=_LONGEST, description="Seconds that are judged.")] = metrics.HOUR,
) -> TaskHealth:
    """`warning` above 10 % failures, 8 minutes of a running task, or 1.5 GB of a process; `critical` above 20 %,
    9.5 minutes or 1.9 GB."""
    return metrics.health(fleet, window)


with_alias(
    router,
    "/tasks/metrics",
    task_metrics,
    "GET",
    summary="Figures of all tasks",
    response_model_exclude_none=True,
)
with_alias(
    router,
    "/tasks/health",
    task_health,
    "GET",
    summary="Whether tasks do well",
    response_model_exclude_none=True,
)
