"""What a benchmark measures, and how it is shown: samples, medians, ratios, goals."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Sample:
    """One run. seconds: wall clock. cpu: seconds of CPU, of this machine's programs and of all hosts; None = unknown."""

    seconds: float = 0.0
    cpu: float | None = None


@dataclass
class Series:
    """The runs of one thing, and what stands for them: their median."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median of the wall clock."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def cpu(self) -> float | None:
        """Median of the CPU seconds; None when they were not measured."""
        known = [sample.cpu for sample in self.samples if sample.cpu is not None]
        return statistics.median(known) if known else None

    def as_dict(self) -> dict[str, object]:
        """For the JSON result."""
        samples = [vars(sample) for sample in self.samples]
        return {"name": self.name, "seconds": self.seconds, "cpu": self.cpu, "samples": samples}


@dataclass(frozen=True)
class Ratio:
    """What a thing costs in terms of another one. goal: not more than that. aim: better still."""

    name: str
    measured: Series
    yardstick: Series
    goal: float | None = None
    aim: float | None = None

    @property
    def value(self) -> float:
        """The ratio of the medians of the wall clock."""
        return self.measured.seconds / self.yardstick.seconds

    @property
    def cpu(self) -> float | None:
        """The same of the CPU seconds, which a busy machine disturbs less; None when not measured."""
        mine, theirs = self.measured.cpu, self.yardstick.cpu
        return mine / theirs if mine is not None and theirs else None

    @property
    def verdict(self) -> str:
        """Empty without a goal."""
        if self.goal is None:
            return ""
        if self.aim is not None and self.value <= self.aim:
            return "aim met"
        return "goal met" if self.value <= self.goal else "goal missed"

    def as_dict(self) -> dict[str, object]:
        """For the JSON result."""
        named = {"measured": self.measured.name, "yardstick": self.yardstick.name}
        numbers = {"ratio": self.value, "cpu_ratio": self.cpu, "goal": self.goal, "aim": self.aim}
        return {"name": self.name, **named, **numbers, "verdict": self.verdict}


@contextmanager
def measured(series: Series, cpu_of_hosts: Callable[[], float | None]) -> Iterator[None]:
    """Add the run of the block to a series. cpu_of_hosts: CPU seconds that the hosts have used so far, None = unknown."""

    def own() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def all_cpu() -> float | None:
        hosts = cpu_of_hosts()
        return None if hosts is None else hosts + own()

    cpu_before, began = all_cpu(), time.perf_counter()
    yield
    seconds, cpu_after = time.perf_counter() - began, all_cpu()
    cpu = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    series.samples.append(Sample(seconds, cpu))


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Columns as wide as they must be; numbers to the right, with one or two digits."""
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    right = [n for n in range(len(widths)) if all(_is_number(row[n]) for row in cells[1:])]
    return "\n".join(
        "  ".join(
            text.rjust(widths[n]) if n in right else text.ljust(widths[n]) for n, text in enumerate(row)
        ).rstrip()
        for row in cells
    )


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.{1 if cell >= 10 else 2}f}" if isinstance(cell, float) else str(cell)


def _is_number(text: str) -> bool:
    return text.strip("-").replace(".", "", 1).replace("x", "", 1).isdigit() or text in ("-", "")
