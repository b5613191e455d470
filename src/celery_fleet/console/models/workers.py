"""Workers and pools, as the API and the pages show them."""

from pydantic import Field

from .common import Model, Moment
from .queues import PauseInfo


class RunningTask(Model):
    """A task that a worker runs now."""

    task_id: str
    name: str
    queue: str
    started: Moment


class WorkerInfo(Model):
    """One worker. null: not known, because it has not said so."""

    node: str = Field(description="its name: pool@host")
    pool: str
    host: str
    state: str = Field(description="alive, silent, dead, gone or stopped")
    stopping: bool = Field(description="it was told to stop, and ends what it runs")
    draining: PauseInfo | None = Field(description="it takes no new task; null: it does")
    pid: int | None
    kind: str | None = Field(description="prefork, threads, gevent, eventlet or solo")
    concurrency: int | None
    busy: int | None
    done: int | None = Field(description="tasks since it started")
    failed: int | None
    queues: list[str]
    release: str | None
    started_at: Moment | None
    memory: int | None = Field(description="bytes, of the process and its children")
    largest_child: int | None = Field(description="bytes")
    seen: Moment | None = Field(
        description="its last sign of life; of one that is gone: when its work was given away"
    )
    cannot: list[str] = Field(description="what a pool of this kind is unable to do")


class WorkerDetail(WorkerInfo):
    running: list[RunningTask]


class WorkerList(Model):
    """`active`: those that are alive."""

    workers: list[WorkerInfo]
    count: int
    active: int


class PoolInfo(Model):
    """The workers of one name on all hosts. Sums are over the workers that say something."""

    name: str
    kind: str | None
    workers: int
    alive: int
    draining: int = Field(description="how many of its workers take no new task")
    hosts: list[str]
    nodes: list[str]
    concurrency: int
    busy: int
    saturation: float | None = Field(description="busy slots of all, 0 to 1; null: it has none")
    done: int
    failed: int
    queues: list[str]
    memory: int | None
    releases: list[str]
    cannot: list[str]


class PoolList(Model):
    pools: list[PoolInfo]
    count: int
