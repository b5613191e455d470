"""A task that wants more memory than its pool has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from acceptance import units
from acceptance.application import ALLOCATE, SLEEP, Application, Task
from hosts import Fleet


@dataclass(frozen=True)
class Overrun:
    """The task, others that run beside it (in the same pool, on the same host, elsewhere), the services
    and the kernel's kills before."""

    HOST: ClassVar = "worker1"
    POOL: ClassVar = "cpu"
    QUEUE: ClassVar = "cpu_intensive"

    task: Task
    beside: list[Task]
    pids: Mapping[tuple[str, str], int]
    kills: int

    @classmethod
    def begin(cls, fleet: Fleet, app: Application) -> Overrun:
        host = fleet.host(cls.HOST)
        limit = int(units.show(host, units.worker(cls.POOL), "MemoryMax")["MemoryMax"])
        pids = units.main_pids(fleet)
        beside = [app.send(SLEEP, queue, seconds=8) for queue in (cls.QUEUE, "default", "reports")]
        for task in beside:
            task.until("STARTED")
        kills = units.kills(host, units.main_pid(host, units.worker(cls.POOL)))
        task = app.send(ALLOCATE, cls.QUEUE, megabytes=(limit >> 20) + 64, seconds=1)
        return cls(task, beside, pids, kills)

    def told(self, fleet: Fleet) -> list[str]:
        """What the journal says about the task."""
        return [line["MESSAGE"] for line in units.journal(fleet.host(self.HOST), f"TASK_ID={self.task.id}")]
