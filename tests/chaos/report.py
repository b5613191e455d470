"""What came of it, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faults import GROUP, MAIN, OF_REDIS
from ledger import Fault, Repeat, Task, Times, slow_cases, slow_medians
from remains import NOWHERE

REDELIVERY = 5.0
"""Seconds, median, until a task whose worker was killed runs again."""
BACK = 20.0
"""Seconds, at the longest, until every node begins tasks again after Redis was away."""


@dataclass
class Report:
    """The result of one run. Seconds by (fault, pool kind)."""

    settings: Mapping[str, Any]
    tasks: Mapping[str, Task]
    faults: Sequence[Fault]
    kills: int
    kills_wanted: int
    tasks_wanted: int
    lost: Sequence[tuple[Task, str]]
    """And where Redis still has them."""
    repeats: Sequence[Repeat]
    redelivery: Mapping[tuple[str, str], Times]
    recovery: Mapping[tuple[str, str], Times]
    stops: Mapping[tuple[str, str], Times]
    left: Mapping[str, int]
    """What is in Redis when all is done, and should not be."""
    not_recovered: Sequence[str]
    unwanted: Sequence[Fault]
    """What nobody did, and must not happen by itself."""
    gave_up: Sequence[str]
    """Producers that did not go on trying."""

    @property
    def confirmed(self) -> int:
        return sum(task.confirmed is not None for task in self.tasks.values())

    @property
    def unexplained(self) -> list[Repeat]:
        return [repeat for repeat in self.repeats if repeat.cause is None]

    @property
    def gone(self) -> list[Task]:
        """The lost that no patience would bring back."""
        return [task for task, where in self.lost if where == NOWHERE]

    @property
    def problems(self) -> list[str]:
        """Why the run has failed; empty when it has not."""
        found = []
        if self.lost:
            found.append(f"{len(self.lost)} confirmed tasks were not executed")
        if self.unexplained:
            found.append(f"{len(self.unexplained)} tasks ran again without a fault that explains it")
        if self.confirmed < self.tasks_wanted:
            found.append(f"only {self.confirmed} of {self.tasks_wanted} tasks were published")
        if self.kills < self.kills_wanted:
            found.append(f"only {self.kills} of {self.kills_wanted} kills took place")
        found += [f"not recovered: {text}" for text in self.not_recovered]
        found += [f"{fault.name}: {fault.node}" for fault in self.unwanted]
        found += [
            f"{name}, {kind}: redelivery takes {seconds:.1f} s in the median, not {REDELIVERY:g}"
            for name, kind, seconds in slow_medians(self.redelivery, (MAIN, GROUP), REDELIVERY)
        ]
        found += [
            f"{name}, {kind}: recovery takes {seconds:.1f} s, not {BACK:g}"
            for name, kind, seconds in slow_cases(self.recovery, OF_REDIS, BACK)
        ]
        found += self.gave_up
        found += [f"left in Redis: {count} x {name}" for name, count in self.left.items()]
        return found

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        began = min((task.attempts[0] for task in self.tasks.values()), default=0.0)
        return {
            "settings": dict(self.settings),
            "confirmed": self.confirmed,
            "executed": sum(task.done for task in self.tasks.values()),
            "kills": self.kills,
            "lost": [{"id": task.id, "queue": task.queue, "where": where} for task, where in self.lost],
            "run_again": [
                {
                    "id": repeat.task.id,
                    "completed": repeat.completed,
                    "cause": repeat.cause,
                    "runs": [vars(run) for run in repeat.task.runs],
                }
                for repeat in self.repeats
            ],
            "seconds": [
                {
                    "fault": fault,
                    "kind": kind,
                    "what": what,
                    "cases": len(times.values),
                    "median": times.median,
                    "longest": times.longest,
                }
                for what, table in self._times()
                for (fault, kind), times in sorted(table.items())
            ],
            "left": dict(self.left),
            "faults": [vars(fault) for fault in self.faults],
            "began": began,
            "problems": self.problems,
        }

    def markdown(self) -> str:
        """The same for people; reads well as plain text."""
        again = [repeat for repeat in self.repeats if not repeat.completed]
        twice = [repeat for repeat in self.repeats if repeat.completed]
        lines = [
            "# Chaos",
            "",
            " ".join(f"{name}={value}" for name, value in self.settings.items()),
            "",
            *_table(
                ("what", "count"),
                [
                    ("tasks confirmed by the broker", self.confirmed),
                    ("tasks executed", sum(task.done for task in self.tasks.values())),
                    ("tasks not executed", len(self.lost)),
                    ("of these, nowhere in Redis any more", len(self.gone)),
                    ("runs interrupted and begun anew", len(again)),
                    ("tasks run to the end twice", len(twice)),
                    ("of both, without explanation", len(self.unexplained)),
                    ("faults", len(self.faults)),
                    ("kills", self.kills),
                ],
            ),
            "",
            "Seconds, median / longest (cases). Redelivery: from the fault to the next run of a task that it interrupted.",
            "Recovery: until the service is ready; after an outage, from its end until a node begins a task.",
            "",
            *self._seconds(),
        ]
        for title, cases in (("Interrupted and begun anew", again), ("Run to the end twice", twice)):
            counted = Counter((repeat.cause or "no explanation", repeat.task.queue) for repeat in cases)
            if counted:
                rows = [(cause, kind, count) for (cause, kind), count in sorted(counted.items())]
                lines += ["", f"{title}, by cause:", "", *_table(("cause", "pool kind", "tasks"), rows)]
        if self.lost:
            lines += ["", "Lost:", ""]
            lines += [
                f"- {task.id} ({task.queue}): {where}; {_history(task)}" for task, where in self.lost[:20]
            ]
        if self.unexplained:
            lines += ["", "Without explanation:", ""]
            lines += [
                f"- {repeat.task.id} ({repeat.task.queue}): {_history(repeat.task)}"
                for repeat in self.unexplained[:20]
            ]
        lines += ["", *(f"FAILED: {problem}" for problem in self.problems)]
        return "\n".join(lines).rstrip() + "\n"

    def _times(self) -> list[tuple[str, Mapping[tuple[str, str], Times]]]:
        return [("redelivery", self.redelivery), ("recovery", self.recovery), ("stop", self.stops)]

    def _seconds(self) -> list[str]:
        counts = Counter((fault.name, fault.kind) for fault in self.faults)
        timed = {key for _, times in self._times() for key in times}
        names = {name for name, _ in timed}
        rows = []
        for name, kind in sorted(timed | {key for key in counts if key[1] != "all" or key[0] not in names}):
            cells = [_shown(times.get((name, kind))) for _, times in self._times()]
            rows.append((name, kind, counts[name, kind] or counts[name, "all"], *cells))
        return _table(("fault", "pool kind", "faults", "redelivery", "recovery", "stop"), rows)


def _history(task: Task) -> str:
    if not task.runs:
        return "never begun"
    return "; ".join(
        f"{run.node} {run.begin:.2f} to {'-' if run.end is None else format(run.end, '.2f')}"
        f" (retries {run.retries}, redelivered {int(run.redelivered)}, losses {run.losses})"
        for run in task.runs
    )


def _shown(times: Times | None) -> str:
    if times is None or times.median is None:
        return ""
    return f"{times.median:.1f} / {times.longest:.1f} ({len(times.values)})"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    cells = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
