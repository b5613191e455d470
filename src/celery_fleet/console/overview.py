"""The fleet at a glance, and its charts."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from celery_fleet.store.figures import FINE, QueueSeries, Series, Totals
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.health import PROBLEM, WARNING, BeatReading, Finding, RedisReading, headline, judge
from celery_fleet.survey.reading import look_at_queues, look_at_redis
from celery_fleet.survey.roster import ALIVE, Worker
from celery_fleet.topology.problem import listed
from celery_fleet.topology.units import human_duration
from celery_fleet.topology.urgency import QUEUEING_TARGETS

from .history import LINES, LONGEST, history, step_for, tail, total
from .models.common import moment
from .models.overview import (
    BeatSeen,
    ChartData,
    Counts,
    FindingInfo,
    Overview,
    QueueChart,
    Rates,
    RedisInfo,
    TotalCounts,
)
from .models.queues import QueueInfo
from .queues import rows, running_by_queue
from .remembering import remembered
from .schedules import entries_of, is_late
from .workers import Staff, look

if TYPE_CHECKING:
    from .fleet import Fleet

_MINUTE = 60 // FINE
_FULL_STEPS = slice(-_MINUTE - 1, -1)
"""The last minute of steps that are over."""


def overview(fleet: "Fleet", alerts: int | None = None) -> Overview:
    """All at once, in some ten milliseconds. `alerts`: how many fire, as far as somebody has looked."""
    now = time.time()
    backlogs, staff = look_at_queues(fleet), look(fleet)
    _sample(fleet, backlogs, staff, now)
    queues = rows(fleet, backlogs, staff, now)
    redis = remembered(fleet, "redis", 5.0, lambda: look_at_redis(fleet.broker))
    beat = fleet.schedules.read()
    late = [entry.name for entry in entries_of(fleet, beat) if is_late(entry, now)]
    reading = BeatReading(len(fleet.topology.beat), max(0.0, now - beat.at) if beat else None)
    findings = judge_all(redis, staff, backlogs, queues, beat=reading, late=late)
    series, totals = history(fleet, 60), fleet.figures.totals()
    recent = total(tail(series, _MINUTE + 1).queues, _MINUTE + 1)
    return Overview(
        at=moment(now),
        fleet=fleet.settings.name,
        headline=headline(findings),
        findings=[FindingInfo(level=finding.level, text=finding.text) for finding in findings],
        counts=Counts(
            waiting=sum(backlog.waiting for backlog in backlogs),
            running=sum(worker.busy or 0 for worker in staff.alive),
            due=sum(backlog.parked for backlog in backlogs),
            retrying=fleet.index.count(state="RETRY"),
            dead=fleet.letters.count(),
            workers=len(staff.workers),
            workers_alive=len(staff.alive),
            workers_draining=sum(worker.draining is not None for worker in staff.alive),
            busy=sum(worker.busy or 0 for worker in staff.alive),
            slots=sum(worker.concurrency or 0 for worker in staff.alive),
            queues_paused=sum(queue.paused is not None for queue in queues),
            schedules_late=len(late),
            alerts=alerts,
        ),
        rates=Rates(
            received=_rate(recent.received),
            succeeded=_rate(recent.succeeded),
            failed=_rate(recent.failed),
            retried=_rate(recent.retried),
        ),
        failed_share=failed_share(series),
        wait_p95=max(filter(None, recent.wait_p95[-_MINUTE:]), default=None),
        run_p95=max(filter(None, recent.run_p95[-_MINUTE:]), default=None),
        totals=total_counts(totals),
        queues=queues,
        workers=staff.workers,
        redis=RedisInfo(
            version=redis.version,
            used=redis.used,
            limit=redis.limit or None,
            append_only=redis.append_only,
            ok=not judge_redis(redis),
        ),
        beat=None if beat is None else BeatSeen(alive=reading.alive, last_seen=moment(beat.at)),
    )


def current(fleet: "Fleet", alerts: int | None = None) -> Overview:
    """The same for many who ask at once: not older than a second."""
    return remembered(fleet, "overview", 1.0, lambda: overview(fleet, alerts))


def charts(fleet: "Fleet", minutes: int = 60, queue: str = "") -> ChartData:
    """The lines of the last so many minutes; `queue`: only of this one."""
    minutes = max(1, min(minutes, LONGEST))
    return remembered(fleet, ("charts", minutes, queue), 1.0, lambda: _charts(fleet, minutes, queue))


def _charts(fleet: "Fleet", minutes: int, queue: str) -> ChartData:
    return chart_data(fleet, history(fleet, minutes), minutes, queue)


def chart_data(fleet: "Fleet", series: Series, minutes: int, queue: str = "") -> ChartData:
    """A series as it is drawn."""
    lines = {name: each for name, each in series.queues.items() if not queue or name == queue}
    together = total(lines, len(series.at))
    return ChartData(
        minutes=minutes,
        step=step_for(minutes),
        at=[int(at) for at in series.at],
        queues={name: _queue_chart(fleet, name, each) for name, each in lines.items()},
        **{name: getattr(together, name) for name in LINES},
    )


def _queue_chart(fleet: "Fleet", name: str, lines: QueueSeries) -> QueueChart:
    known = fleet.topology.queues.get(name)
    return QueueChart(
        urgency=known.urgency if known else "",
        target=QUEUEING_TARGETS[known.urgency] if known else None,
        **{line: getattr(lines, line) for line in LINES},
    )


def _sample(fleet: "Fleet", backlogs: Sequence[Backlog], staff: Staff, now: float) -> None:
    """What the queues hold now becomes a point of the charts, once however many look."""
    running = running_by_queue(staff)
    fleet.figures.sample(
        now,
        {
            backlog.queue: (
                backlog.waiting,
                running.get(backlog.queue, 0),
                None if backlog.oldest is None else round(max(0.0, now - backlog.oldest), 1),
            )
            for backlog in backlogs
        },
    )


def judge_redis(redis: RedisReading) -> list[Finding]:
    """What is wrong with Redis alone."""
    return judge(redis, [Worker("", ALIVE, "")], [], None)


def judge_all(
    redis: RedisReading,
    staff: Staff,
    backlogs: Sequence[Backlog],
    queues: Sequence[QueueInfo],
    *,
    beat: BeatReading,
    late: Sequence[str],
) -> list[Finding]:
    """What is wrong, the worst first."""
    workers = [Worker(worker.node, worker.state, worker.host) for worker in staff.workers]
    consumed = frozenset(queue.name for queue in queues if queue.consumers or queue.paused)
    found = judge(redis, workers, backlogs, consumed, staff.pauses, beat=beat)
    # Of a Beat that is dead, all is late.
    return sorted(
        [*found, *_late_findings(queues, late if beat.alive else ())],
        key=lambda finding: finding.level != PROBLEM,
    )


def _late_findings(queues: Sequence[QueueInfo], entries: Sequence[str]) -> Iterable[Finding]:
    for queue in queues:
        if queue.late and queue.consumers and not queue.paused:
            yield Finding(
                WARNING,
                f"the queue {queue.name} is late: its next task waits for {human_duration(int(queue.oldest or 0))}, "
                f"and should start within {human_duration(queue.target or 0)}",
            )
    if entries:
        yield Finding(WARNING, f"Beat is late with {listed(entries)}")


def failed_share(series: Series) -> float | None:
    """Of all that ended, well or badly."""
    failed = sum(sum(lines.failed) for lines in series.queues.values())
    succeeded = sum(sum(lines.succeeded) for lines in series.queues.values())
    return round(failed / (failed + succeeded), 4) if failed + succeeded else None


def total_counts(totals: Totals) -> TotalCounts:
    return TotalCounts(
        received=totals.received,
        succeeded=totals.succeeded,
        failed=totals.failed,
        retried=totals.retried,
        revoked=totals.revoked,
    )


def _rate(counts: Sequence[int]) -> float:
    return round(sum(counts[_FULL_STEPS]) / 60, 3)
