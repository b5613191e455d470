"""Whether the tasks do well: how many fail, how long they run, how much memory they take. Pure judgements."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from celery_fleet.store.figures import Totals
from celery_fleet.store.presence import FRESH, Presence, Running

HEALTHY, WARNING, CRITICAL = "healthy", "warning", "critical"

FAILURE_RATE = (10.0, 20.0)
"""Percent of the tasks that ended."""

TASK_DURATION = (480.0, 570.0)
"""Seconds that a task has run."""

MEMORY = (1_500_000_000, 1_900_000_000)
"""Bytes of the largest process of a worker."""


@dataclass(frozen=True)
class Alert:
    """What is beyond a bound. `task_id` or `worker`: whose it is."""

    severity: str
    message: str
    metric: str
    value: float
    task_id: str | None = None
    worker: str | None = None


@dataclass(frozen=True)
class TaskHealth:
    """The worst of the alerts is the status."""

    status: str
    failure_rate: float
    """Percent of the tasks that ended, of what was counted; 0 when none did."""
    success_rate: float
    alerts: tuple[Alert, ...]


def judge_tasks(totals: Totals, presences: Iterable[Presence], now: float | None = None) -> TaskHealth:
    """`totals`: of the time that is judged. Workers that have said nothing of late do not count."""
    now = time.time() if now is None else now
    ended = totals.succeeded + totals.failed + totals.revoked
    failure, success = _percent(totals.failed, ended), _percent(totals.succeeded, ended)
    alerts = list(_failures(failure))
    for presence in presences:
        if now - presence.at <= FRESH:
            alerts += _memory(presence)
            for running in presence.running:
                alerts += _duration(running, now)
    alerts.sort(key=lambda alert: alert.severity != CRITICAL)
    return TaskHealth(alerts[0].severity if alerts else HEALTHY, failure, success, tuple(alerts))


def _failures(rate: float) -> Iterable[Alert]:
    if severity := _severity(rate, FAILURE_RATE):
        yield Alert(severity, f"{rate:g} % of the tasks failed", "failure_rate", rate)


def _duration(task: Running, now: float) -> Iterable[Alert]:
    seconds = int(now - task.started)
    if severity := _severity(seconds, TASK_DURATION):
        message = f"Task {task.task_id} running for {seconds} seconds"
        yield Alert(severity, message, "task_duration", seconds, task_id=task.task_id)


def _memory(worker: Presence) -> Iterable[Alert]:
    if severity := _severity(worker.largest_child, MEMORY):
        message = f"Worker {worker.node} has a process of {worker.largest_child / 1e9:.2f} GB"
        yield Alert(severity, message, "memory_usage", worker.largest_child, worker=worker.node)


def _severity(value: float, bounds: tuple[float, float]) -> str:
    warning, critical = bounds
    return CRITICAL if value > critical else WARNING if value > warning else ""


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
