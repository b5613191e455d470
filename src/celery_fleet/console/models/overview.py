"""The fleet at a glance, as the API and the pages show it."""

from pydantic import Field

from .common import Model, Moment
from .queues import QueueInfo
from .workers import WorkerInfo


class FindingInfo(Model):
    """Something that is not as it should be. `level`: problem or warning."""

    level: str
    text: str


class Counts(Model):
    """What is now."""

    waiting: int
    running: int
    due: int = Field(description="messages that are due later")
    retrying: int = Field(description="tasks that wait for their next attempt")
    dead: int = Field(description="dead letters")
    workers: int
    workers_alive: int
    workers_draining: int
    busy: int
    slots: int
    queues_paused: int
    schedules_late: int
    alerts: int | None = Field(description="that fire and are not silenced; null: not known")


class Rates(Model):
    """Tasks a second in the last minute."""

    received: float
    succeeded: float
    failed: float
    retried: float


class TotalCounts(Model):
    """Tasks since the fleet's state began."""

    received: int
    succeeded: int
    failed: int
    retried: int
    revoked: int


class RedisInfo(Model):
    """Bytes; null: it does not say. `ok`: it writes to its disk, has room and evicts nothing."""

    version: str | None
    used: int | None
    limit: int | None
    append_only: bool | None
    ok: bool


class BeatSeen(Model):
    alive: bool
    last_seen: Moment


class Overview(Model):
    at: Moment
    fleet: str
    headline: str = Field(description="well, or how much is not")
    findings: list[FindingInfo]
    counts: Counts
    rates: Rates
    failed_share: float | None = Field(description="failed of all that ended in the last hour, 0 to 1")
    wait_p95: float | None = Field(description="seconds from due to start, in the last minutes")
    run_p95: float | None
    totals: TotalCounts
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    redis: RedisInfo
    beat: BeatSeen | None = Field(description="null: no Beat has ever said anything")


class Lines(Model):
    """What went through, step by step; null: nothing there, or not looked at."""

    received: list[int | None]
    succeeded: list[int | None]
    failed: list[int | None]
    retried: list[int | None]
    revoked: list[int | None]
    wait_p50: list[float | None]
    wait_p95: list[float | None]
    run_p50: list[float | None]
    run_p95: list[float | None]
    backlog: list[int | None]
    running: list[int | None]
    oldest: list[float | None]


class QueueChart(Lines):
    """The lines of one queue, each as long as `at` of the charts; null: nothing known of that moment.

    Counts are tasks of a step, times are seconds, and the others are what was at that moment.
    """

    urgency: str
    target: int | None = Field(description="seconds within which a task should start; null: whenever")


class ChartData(Lines):
    """Ready to be drawn: `at` are the beginnings of steps, oldest first. The lines are of all queues together;
    of times, the longest of any queue."""

    minutes: int
    step: int = Field(description="seconds")
    at: list[int]
    queues: dict[str, QueueChart]
