"""What was published, what ran, what was done to the fleet; and what follows: lost, run twice, redelivered after how long."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

EVERYWHERE = "*"
SLACK = 0.5
"""Seconds by which the moment of a fault may be noted late."""
ACKNOWLEDGE = 3.0
"""Seconds within which a task that has ended is acknowledged on a busy machine."""
RECONNECT = 30.0
"""Seconds after the end of an outage within which workers still have tasks of before it."""
ENOUGH = 3
"""Cases from which a median says something."""


@dataclass(frozen=True)
class Fault:
    """Something done to the fleet. node: whom it hit, `pool@host`, `*@host` or EVERYWHERE; moments by the steady clock.

    ends_work: the runs in progress there cannot reach their end. pid: of the only process it hit, as its host counts them.
    healed: when an outage was over.
    """

    name: str
    kind: str
    node: str
    at: float
    healed: float | None = None
    ends_work: bool = True
    pid: int | None = None

    def interrupts(self, run: Run, until: float) -> bool:
        """Whether the run, which was begun anew then, has no end because of it."""
        mine = self.hits(run.node) and self.pid in (None, run.pid)
        open_end = self.ends_work and run.ended is None
        return mine and open_end and run.begin - SLACK <= self.at <= until

    def hits(self, node: str) -> bool:
        host = self.node.partition("@")[2]
        return self.node in (EVERYWHERE, node) or (
            self.node.startswith("*@") and node.partition("@")[2] == host
        )

    @property
    def outage(self) -> bool:
        return self.healed is not None

    def holds_up(self, since: float, first: Run, second: Run) -> bool:
        """Whether it is an outage of where a task ran, or runs again, between a moment and its second run."""
        mine = self.hits(first.node) or self.hits(second.node)
        return mine and self.healed is not None and self.at <= second.begin and self.healed >= since


@dataclass
class Run:
    """One run of a task; end None: it has none. failed: when it ended with an error that its policy retries."""

    node: str
    pid: int
    begin: float
    retries: int
    redelivered: bool
    losses: int
    end: float | None = None
    failed: float | None = None

    @property
    def ended(self) -> float | None:
        """When it was over by itself, one way or the other."""
        return self.end if self.failed is None else self.failed


@dataclass
class Task:
    """A task as its producer knows it. attempts: moments when it was tried to publish."""

    id: str
    queue: str
    attempts: list[float] = field(default_factory=list)
    confirmed: float | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return any(run.end is not None for run in self.runs)


def read_published(texts: Iterable[str]) -> dict[str, Task]:
    """The ledgers of the producers, by task id."""
    tasks: dict[str, Task] = {}
    for text in texts:
        for line in text.splitlines():
            word, task_id, queue, moment = line.split()
            task = tasks.setdefault(task_id, Task(task_id, queue))
            if word == "try":
                task.attempts.append(float(moment))
            else:
                task.confirmed = float(moment)
    return tasks


def add_runs(tasks: Mapping[str, Task], marks: str) -> None:
    """The marks of the app, given to the tasks that they are of."""
    running: dict[tuple[str, str], Run] = {}
    for line in marks.splitlines():
        word, task_id, moment, node, *rest = line.split()
        if task_id not in tasks:
            continue
        if word == "begin":
            pid, retries, redelivered, losses = map(int, rest)
            run = Run(node, pid, float(moment), retries, bool(redelivered), losses)
            running[task_id, node] = run
            tasks[task_id].runs.append(run)
        elif (task_id, node) not in running:
            continue
        elif word == "failed":
            running[task_id, node].failed = float(moment)
        else:
            running[task_id, node].end = float(moment)
    for task in tasks.values():
        task.runs.sort(key=lambda run: run.begin)


@dataclass(frozen=True)
class Repeat:
    """A task that ran again although its policy did not ask for it. cause: the fault that explains it, or None."""

    task: Task
    first: Run
    second: Run
    cause: str | None

    @property
    def completed(self) -> bool:
        """The first run had reached its end."""
        return self.first.end is not None


def lost(tasks: Mapping[str, Task]) -> list[Task]:
    """Confirmed, and never run to the end."""
    return [task for task in tasks.values() if task.confirmed is not None and not task.done]


def repeats(tasks: Mapping[str, Task], faults: Sequence[Fault]) -> list[Repeat]:
    """All second runs that no retry policy asked for, each with its cause."""
    found = []
    for task in tasks.values():
        for first, second in zip(task.runs, task.runs[1:], strict=False):
            if first.failed is not None and second.retries > first.retries:
                continue
            found.append(Repeat(task, first, second, _cause(task, first, second, faults)))
    return found


def _cause(task: Task, first: Run, second: Run, faults: Sequence[Fault]) -> str | None:
    interrupted = _interruption(first, second, faults)
    if interrupted:
        return interrupted.name
    if len(task.attempts) > 1 and not second.redelivered:
        return "published again by its producer, who was told of an error"
    for explains in (_unacknowledged, _cut_off):
        found = [f for f in faults if f.outage == (explains is _cut_off) and explains(f, first, second)]
        if found:
            return max(found, key=lambda fault: fault.at).name
    return None


def _interruption(first: Run, second: Run, faults: Sequence[Fault]) -> Fault | None:
    """The last fault that can have kept the first run from its end; one that names its process is preferred."""
    found = [fault for fault in faults if fault.interrupts(first, second.begin)]
    return max(found, key=lambda fault: (fault.pid is not None, fault.at), default=None)


def _unacknowledged(fault: Fault, first: Run, second: Run) -> bool:
    """The worker died after the task had ended and before the broker knew."""
    if first.ended is None or not fault.ends_work or not fault.hits(first.node):
        return False
    return first.begin - SLACK <= fault.at <= min(second.begin, first.ended + ACKNOWLEDGE)


def _cut_off(fault: Fault, first: Run, second: Run) -> bool:
    """The broker was out of reach of a node that had the task: it could not tell the end, or that it was about to begin."""
    assert fault.healed is not None
    if second.begin <= fault.at - SLACK or first.begin >= fault.healed + RECONNECT:
        return False
    ended = second.begin if first.ended is None else first.ended
    untold = fault.hits(first.node) and ended > fault.at - ACKNOWLEDGE
    late = fault.hits(second.node) and second.begin < fault.healed + RECONNECT
    return untold or late


def redeliveries(tasks: Mapping[str, Task], faults: Sequence[Fault]) -> list[tuple[Fault, Run, float]]:
    """Each run that a fault interrupted, and the seconds from the fault to the next run of the task.

    Not where an outage came between: its length says nothing of the fault.
    """
    outages = [fault for fault in faults if fault.outage]
    found = []
    for task in tasks.values():
        for first, second in zip(task.runs, task.runs[1:], strict=False):
            fault = _interruption(first, second, faults)
            if fault and not any(outage.holds_up(fault.at, first, second) for outage in outages):
                found.append((fault, first, second.begin - fault.at))
    return found


def first_runs(tasks: Mapping[str, Task], since: float) -> dict[str, float]:
    """When each node first began a task after a moment."""
    found: dict[str, float] = {}
    for task in tasks.values():
        for run in task.runs:
            if run.begin >= since:
                found[run.node] = min(found.get(run.node, run.begin), run.begin)
    return found


@dataclass
class Times:
    """Seconds of many cases of one thing."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def longest(self) -> float | None:
        return max(self.values, default=None)


def grouped(pairs: Iterable[tuple[tuple[str, str], float]]) -> dict[tuple[str, str], Times]:
    """Seconds by (fault, pool kind)."""
    found: dict[tuple[str, str], Times] = defaultdict(Times)
    for key, seconds in pairs:
        found[key].values.append(seconds)
    return dict(found)


def slow_medians(
    times: Mapping[tuple[str, str], Times], names: Collection[str], bound: float
) -> list[tuple[str, str, float]]:
    """(fault, pool kind or "all", median) of these faults beyond a bound in seconds, when there are enough cases."""
    of_all = {
        (name, "all"): Times(
            [value for (fault, _), each in times.items() if fault == name for value in each.values]
        )
        for name in names
    }
    return [
        (name, kind, each.median)
        for (name, kind), each in sorted({**times, **of_all}.items())
        if name in names and len(each.values) >= ENOUGH and each.median is not None and each.median > bound
    ]


def slow_cases(
    times: Mapping[tuple[str, str], Times], names: Collection[str], bound: float
) -> list[tuple[str, str, float]]:
    """(fault, pool kind, longest) of these faults beyond a bound in seconds."""
    return [
        (name, kind, each.longest)
        for (name, kind), each in sorted(times.items())
        if name in names and each.longest is not None and each.longest > bound
    ]


def attempts_between(tasks: Mapping[str, Task], begin: float, end: float) -> int:
    """How often it was tried to publish something."""
    return sum(begin <= moment <= end for task in tasks.values() for moment in task.attempts)
