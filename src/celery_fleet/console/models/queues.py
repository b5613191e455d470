"""Queues, as the API and the pages show them."""

from typing import Any

from pydantic import Field

from .common import Model, Moment, Request


class PauseInfo(Model):
    """Who paused a queue or drains a worker, when and why."""

    by: str
    at: Moment
    reason: str


class QueueInfo(Model):
    """One queue."""

    name: str
    urgency: str
    target: int | None = Field(description="seconds within which a task should start; null: whenever")
    priority: int = Field(description="of tasks that say none: 1 (lowest) to 10 (highest)")
    waiting: int
    by_priority: dict[str, int] = Field(
        description="waiting messages of each priority that has some, 10 first"
    )
    due: int = Field(description="messages that are due later: a time was given, or they are tried again")
    unacked: int = Field(description="held by workers: running, or about to run")
    running: int
    oldest: float | None = Field(description="how long ago the next message in line was first due")
    late: bool = Field(description="the next message has waited for longer than the target")
    consumers: int = Field(description="workers that consume it")
    workers: list[str] = Field(description="the nodes of these workers")
    slots: int = Field(description="tasks that these workers run at once, of all their queues")
    paused: PauseInfo | None
    rate: float = Field(description="tasks that succeeded, a second, in the last minute")
    failed: int = Field(description="in the last hour")
    backlog_spark: list[int | None] = Field(description="waiting at the newest moments of the charts")


class WaitingTask(Model):
    """A message that waits."""

    task_id: str
    name: str
    priority: int
    position: int | None = Field(description="in the line of its priority, from 1: the next one")
    since: Moment | None = Field(description="when it was first due")
    due: Moment | None = Field(description="when it is due, if later")
    args: str
    kwargs: str
    size: int = Field(description="bytes of the message")


class QueueSettingsInfo(Model):
    """How the tasks of a queue are run, unless their route says otherwise."""

    time_limit: int
    soft_time_limit: int | None
    max_deliveries: int
    retry: dict[str, Any]


class QueueDetail(QueueInfo):
    """One queue, how its tasks are run, and who is next in its line."""

    settings: QueueSettingsInfo
    routes: list[str] = Field(description="patterns of task names that go to this queue")
    tasks: list[WaitingTask] = Field(description="the next in line")


class QueueList(Model):
    queues: list[QueueInfo]
    count: int
    pausable: bool = Field(description="whether this fleet's delivery can pause queues")


class PauseRequest(Request):
    reason: str = Field(default="", max_length=500)


class PauseResult(Model):
    """`changed`: false when it was so already."""

    kind: str = Field(description="queue, worker or pool")
    name: str
    status: str = Field(description="paused, running, draining")
    changed: bool
    message: str
