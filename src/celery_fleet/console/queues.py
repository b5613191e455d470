"""Queues: what waits there, who consumes it, whether it is paused; pausing them."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from celery_fleet.delivery import pausing
from celery_fleet.store.figures import FINE, QueueSeries
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.messages import discreet, peek
from celery_fleet.survey.reading import look_at_queues
from celery_fleet.topology.model import QueueSettings
from celery_fleet.topology.urgency import QUEUEING_TARGETS

from .audits import note
from .errors import NotFound
from .history import history
from .models.common import moment
from .models.queues import (
    PauseInfo,
    PauseResult,
    QueueDetail,
    QueueInfo,
    QueueSettingsInfo,
    WaitingTask,
)
from .workers import Staff, look, pause_info, refuse_stock

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet

_MINUTE, _HOUR = 60 // FINE, 3600 // FINE
"""Steps of the series."""

_SPARK = 30
_PEEKED = 50


def all_queues(fleet: "Fleet") -> list[QueueInfo]:
    """In the order of the topology."""
    return rows(fleet, look_at_queues(fleet), look(fleet), time.time())


def queue(fleet: "Fleet", name: str, limit: int = _PEEKED) -> QueueDetail:
    """One queue, with the next messages of its line. Raises NotFound."""
    settings = _settings(fleet, name)
    info = next(each for each in all_queues(fleet) if each.name == name)
    found = peek(fleet.broker, name, fleet.keys, limit=limit) if limit else []
    waiting = [discreet(each, fleet.discretion) for each in found]
    return QueueDetail(
        **dict(info),
        settings=QueueSettingsInfo(
            time_limit=settings.settings.time_limit,
            soft_time_limit=settings.settings.soft_time_limit,
            max_deliveries=settings.settings.max_deliveries,
            retry={
                "max_retries": settings.settings.retry.max_retries,
                "delay": settings.settings.retry.delay,
                "backoff": settings.settings.retry.backoff,
                "max_delay": settings.settings.retry.max_delay,
                "jitter": settings.settings.retry.jitter,
                "max_age": settings.settings.retry.max_age,
                "exceptions": list(settings.settings.retry.exceptions),
                "queue": settings.settings.retry.queue,
            },
        ),
        routes=[route.task for route in fleet.topology.routes if route.settings.queue == name],
        tasks=[
            WaitingTask(
                task_id=each.task_id,
                name=each.name,
                priority=each.priority,
                position=each.position,
                since=moment(each.since),
                due=moment(each.due),
                args=each.args,
                kwargs=each.kwargs,
                size=each.size,
            )
            for each in waiting
        ],
    )


def rows(fleet: "Fleet", backlogs: list[Backlog], staff: Staff, now: float) -> list[QueueInfo]:
    """All queues of the topology, in its order."""
    series = history(fleet, 60).queues
    paused = {pause.name: pause_info(pause) for pause in staff.pauses if pause.kind == pausing.QUEUE}
    running = running_by_queue(staff)
    return [
        row(
            fleet.topology.queues[backlog.queue],
            backlog,
            staff,
            now,
            running=running.get(backlog.queue, 0),
            paused=paused.get(backlog.queue),
            series=series.get(backlog.queue),
        )
        for backlog in backlogs
    ]


def running_by_queue(staff: Staff) -> Mapping[str, int]:
    """How many tasks run, by queue."""
    found: dict[str, int] = {}
    for presence in staff.presences.values():
        for task in presence.running:
            found[task.queue] = found.get(task.queue, 0) + 1
    return found


def row(
    settings: QueueSettings,
    backlog: Backlog,
    staff: Staff,
    now: float,
    *,
    running: int,
    paused: PauseInfo | None,
    series: QueueSeries | None,
) -> QueueInfo:
    """One queue of what was read."""
    target = QUEUEING_TARGETS[settings.urgency]
    oldest = None if backlog.oldest is None else round(max(0.0, now - backlog.oldest), 1)
    consumers = staff.consumers(backlog.queue)
    return QueueInfo(
        name=backlog.queue,
        urgency=settings.urgency,
        target=target,
        priority=settings.settings.priority,
        waiting=backlog.waiting,
        by_priority={
            str(priority): size for priority, size in sorted(backlog.by_priority.items(), reverse=True)
        },
        due=backlog.parked,
        unacked=backlog.unacked,
        running=running,
        oldest=oldest,
        late=target is not None and oldest is not None and oldest > target,
        consumers=len(consumers),
        workers=[worker.node for worker in consumers],
        slots=sum(worker.concurrency or 0 for worker in consumers),
        paused=paused,
        rate=round(sum(series.succeeded[-_MINUTE - 1 : -1]) / 60, 3) if series else 0.0,
        failed=sum(series.failed[-_HOUR:]) if series else 0,
        backlog_spark=series.backlog[-_SPARK:] if series else [],
    )


def pause(fleet: "Fleet", actor: "Actor", name: str, reason: str = "") -> PauseResult:
    """Nobody takes from the queue any more; what was taken runs. Raises NotFound, Conflict."""
    _settings(fleet, name)
    refuse_stock(fleet)
    changed = pausing.pause(fleet.broker, pausing.QUEUE, name, actor.name, reason, fleet.keys)
    if changed:
        note(fleet, actor, "queue.pause", name, reason=reason)
    text = f"The queue {name} {'is' if changed else 'was'} paused{'' if changed else ' before'}"
    return PauseResult(kind="queue", name=name, status="paused", changed=changed, message=text)


def resume(fleet: "Fleet", actor: "Actor", name: str) -> PauseResult:
    """Raises NotFound, Conflict."""
    _settings(fleet, name)
    refuse_stock(fleet)
    changed = pausing.resume(fleet.broker, pausing.QUEUE, name, [name], fleet.keys)
    if changed:
        note(fleet, actor, "queue.resume", name)
    text = f"The queue {name} {'goes on' if changed else 'was not paused'}"
    return PauseResult(kind="queue", name=name, status="running", changed=changed, message=text)


def _settings(fleet: "Fleet", name: str) -> QueueSettings:
    found = fleet.topology.queues.get(name)
    if found is None:
        raise NotFound(f"there is no queue {name}: GET /api/v1/queues shows those that there are")
    return found
