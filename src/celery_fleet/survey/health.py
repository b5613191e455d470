"""Whether the fleet is well: pure judgements over what was read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from celery_fleet.delivery.pausing import QUEUE, Pause
from celery_fleet.store.schedules import FRESH
from celery_fleet.topology.problem import counted, listed
from celery_fleet.topology.units import human_duration, human_size

from .backlog import Backlog
from .roster import ALIVE, DEAD, GONE, SILENT, STOPPED, Worker

PROBLEM, WARNING = "problem", "warning"

_FULL = 0.9
"""The share of Redis' memory above which there is little left."""


@dataclass(frozen=True)
class RedisReading:
    """What Redis says of itself. Bytes; None: it does not say, or this user may not ask."""

    version: str | None = None
    used: int | None = None
    limit: int | None = None
    append_only: bool | None = None
    last_write_ok: bool | None = None
    policy: str | None = None

    @property
    def share(self) -> float | None:
        return self.used / self.limit if self.used is not None and self.limit else None


@dataclass(frozen=True)
class BeatReading:
    """`entries`: periodic tasks that the topology has; `age`: seconds since Beat's last word, None: it has said none."""

    entries: int
    age: float | None

    @property
    def alive(self) -> bool:
        return self.age is not None and self.age <= FRESH


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    level: str
    text: str


def judge(
    redis: RedisReading,
    workers: Sequence[Worker],
    backlogs: Sequence[Backlog],
    consumed: frozenset[str] | None,
    pauses: Sequence[Pause] = (),
    *,
    beat: BeatReading | None = None,
) -> list[Finding]:
    """What is wrong, the worst first. `consumed`: the queues that a worker says it consumes; None: not known."""
    found = [*_redis(redis), *_workers(workers), *_queues(backlogs, consumed), *_pauses(pauses), *_beat(beat)]
    return sorted(found, key=lambda finding: finding.level != PROBLEM)


def headline(findings: Sequence[Finding]) -> str:
    """The health in one line.

    >>> headline([])
    'well'
    """
    problems = sum(finding.level == PROBLEM for finding in findings)
    warnings = len(findings) - problems
    parts = [counted(problems, "problem")] * bool(problems) + [counted(warnings, "warning")] * bool(warnings)
    return ", ".join(parts) or "well"


def _redis(redis: RedisReading) -> Iterable[Finding]:
    if redis.share is not None and redis.share >= _FULL:
        yield Finding(
            PROBLEM,
            f"Redis has used {redis.share:.0%} of its {human_size(redis.limit or 0)}: raise redis_maxmemory, or purge",
        )
    if redis.last_write_ok is False:
        yield Finding(PROBLEM, "Redis could not write to its disk: look at its journal and at `df`")
    if redis.append_only is False:
        yield Finding(WARNING, "Redis keeps no append-only file: what waits is lost when it stops")
    if redis.policy not in (None, "noeviction"):
        yield Finding(PROBLEM, f"Redis evicts keys when it is full ({redis.policy}): it will drop tasks")


def _workers(workers: Sequence[Worker]) -> Iterable[Finding]:
    def nodes(state: str) -> list[str]:
        return [worker.node for worker in workers if worker.state == state]

    if dead := nodes(DEAD):
        yield Finding(
            PROBLEM,
            f"dead: {listed(dead)}. Look at its journal on its host; `fleet recover` gives its work to others",
        )
    if gone := nodes(GONE):
        yield Finding(
            PROBLEM,
            f"gone: {listed(gone)}. Others have its work. If it is not to come back: `fleet recover --forget`",
        )
    if stopped := nodes(STOPPED):
        yield Finding(
            PROBLEM, f"not running on this host: {listed(stopped)}. `systemctl start celery-worker.target`"
        )
    if silent := nodes(SILENT):
        yield Finding(
            WARNING, f"alive, but gave no answer in time: {listed(silent)}. Busy solo pools do not answer"
        )
    if not any(worker.state in (ALIVE, SILENT) for worker in workers):
        yield Finding(PROBLEM, "no worker is alive")


def _queues(backlogs: Sequence[Backlog], consumed: frozenset[str] | None) -> Iterable[Finding]:
    if consumed is None:
        return
    for backlog in backlogs:
        if backlog.waiting and backlog.queue not in consumed:
            waiting = counted(backlog.waiting, "task")
            yield Finding(PROBLEM, f"nobody consumes the queue {backlog.queue}: {waiting} waiting there")


def _pauses(pauses: Sequence[Pause]) -> Iterable[Finding]:
    for pause in pauses:
        what, verb = ("paused: the queue", "resume") if pause.kind == QUEUE else ("drained:", "undrain")
        why = f" ({pause.reason})" if pause.reason else ""
        yield Finding(WARNING, f"{what} {pause.name}, by {pause.by}{why}. `fleet {verb} {pause.name}`")


def _beat(beat: BeatReading | None) -> Iterable[Finding]:
    if beat is None or beat.alive or not beat.entries:
        return
    entries = counted(beat.entries, "periodic task")
    if beat.age is None:
        yield Finding(
            WARNING, f"Beat has never run, so nothing sends {entries}. `systemctl start celery-beat`"
        )
    else:
        yield Finding(
            PROBLEM,
            f"Beat has given no sign of life for {human_duration(int(beat.age))}, so nothing sends {entries}. "
            "Look at the journal of celery-beat on its host",
        )
