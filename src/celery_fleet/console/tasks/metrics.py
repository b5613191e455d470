"""The figures of all tasks, and the judgement on them."""

import time

from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.common import now
from celery_fleet.console.models.tasks import Counts, HealthAlert, HealthCounts, TaskHealth, TaskMetrics
from celery_fleet.store.figures import Totals
from celery_fleet.store.presence import FRESH
from celery_fleet.survey.taskhealth import judge_tasks

HOUR = 3600


def metrics(fleet: Fleet, window: int | None = None) -> TaskMetrics:
    """Since the fleet's state began, or over the last `window` seconds; durations are always of all tasks."""
    totals = fleet.figures.totals() if window is None else fleet.figures.window(window)
    by_name = fleet.figures.by_name()
    moment = time.time()
    counts = Counts(
        total_tasks=whole(totals),
        completed_tasks=totals.succeeded,
        failed_tasks=totals.failed,
        retried_tasks=totals.retried,
        cancelled_tasks=totals.revoked,
        success_rate=share(totals.succeeded, totals),
        failure_rate=share(totals.failed, totals),
        average_durations={
            name: round(each.runtime / each.succeeded, 3)
            for name, each in sorted(by_name.items())
            if each.succeeded
        },
        currently_running=sum(each.busy for each in fleet.presences.all() if moment - each.at <= FRESH),
    )
    return TaskMetrics(metrics=counts, window=window, timestamp=now())


def health(fleet: Fleet, window: int = HOUR) -> TaskHealth:
    """How the tasks of the last `window` seconds did, and those that run do."""
    totals = fleet.figures.window(window)
    judged = judge_tasks(totals, fleet.presences.all())
    return TaskHealth.model_validate(
        {
            "status": judged.status,
            "metrics": HealthCounts(
                total_tasks=whole(totals),
                success_rate=share(totals.succeeded, totals),
                failure_rate=share(totals.failed, totals),
            ),
            "alerts": [
                HealthAlert.model_validate(
                    {
                        "severity": alert.severity,
                        "message": alert.message,
                        "metric": alert.metric,
                        "value": alert.value,
                        "task_id": alert.task_id,
                        "worker": alert.worker,
                    }
                )
                for alert in judged.alerts
            ],
            "timestamp": now(),
        }
    )


def whole(totals: Totals) -> int:
    """The tasks that the figures are about: in a window, tasks may end that came in before it."""
    return max(totals.received, totals.succeeded + totals.failed + totals.revoked)


def share(part: int, totals: Totals) -> float:
    """Percent of all tasks.

    >>> share(135, Totals(150, 135, 10, 5, 0, 0.0, 0.0, 0)), share(10, Totals(150, 135, 10, 5, 0, 0.0, 0.0, 0))
    (90.0, 6.67)
    """
    of = whole(totals)
    return round(100 * part / of, 2) if of else 0.0
