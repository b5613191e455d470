"""What the fleet costs and saves beside stock Celery, on the same Redis in one run, in turn.

Stock: late acknowledgement and results on, otherwise a worker by default. The fleet: a pool as the role celery_worker runs it,
with everything on. Rounds alternate, and ratios are taken within a round, so that what else the machine does disturbs both.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from fleet import BenchError  # noqa: E402
from measure import table  # noqa: E402
from sides import Client, Fleet, InfoStock, Side, Worker, cpu_seconds, pss_mebibytes, until  # noqa: E402

from integration.support import RedisServer, free_port  # noqa: E402

OUT = ROOT / "build" / "bench"
BEGAN = time.monotonic()
CONCURRENCY = {
    "prefork": 2,
    "threads": 10,
    "gevent": 20,
}  # of bursts and probes; twice that of starts and memory
SETTLE = 1.0  # seconds after the last result: what is written in batches is paid for, too


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    tasks: int
    """Of each round and side."""
    probes: int
    starts: int


FULL = Size(rounds=7, tasks=2000, probes=120, starts=5)
QUICK = Size(rounds=1, tasks=400, probes=10, starts=1)


@dataclass
class Figure:
    """One thing measured on all sides, round by round. goal, aim: of the ratio to stock; `more` is better, or less."""

    name: str
    unit: str
    goal: float | None = None
    aim: float | None = None
    more: bool = False
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, value: float) -> None:
        self.values.setdefault(side, []).append(value)

    def median(self, side: str) -> float | None:
        values = self.values.get(side)
        return statistics.median(values) if values else None

    def spread(self, side: str) -> str:
        """The least and the most."""
        values = self.values.get(side)
        return f"{_short(min(values))} to {_short(max(values))}" if values else ""

    def ratio(self, side: str = "fleet", yardstick: str = "stock") -> float | None:
        """The median of the rounds' ratios; of single probes, the ratio of the medians."""
        mine, theirs = self.values.get(side, []), self.values.get(yardstick, [])
        if not mine or not theirs:
            return None
        if len(mine) != len(theirs) or self.unit == "ms":
            return statistics.median(mine) / statistics.median(theirs)
        return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))

    @property
    def verdict(self) -> str:
        value = self.ratio()
        if value is None or self.goal is None:
            return ""

        def met(bound: float) -> bool:
            return value >= bound if self.more else value <= bound

        if self.aim is not None and met(self.aim):
            return "aim met"
        return "goal met" if met(self.goal) else "goal missed"

    @property
    def wanted(self) -> str:
        if self.goal is None:
            return ""
        aim = f", aim {self.aim:g}" if self.aim is not None else ""
        return f"at {'least' if self.more else 'most'} {self.goal:g}{aim}"

    def as_dict(self) -> dict[str, Any]:
        """For the JSON result."""
        ratios = {side: self.ratio(side) for side in self.values if side != "stock"}
        return {**vars(self), "ratios": ratios, "verdict": self.verdict}


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"{time.monotonic() - BEGAN:4.0f}s  {text}", flush=True)


class Bench:
    """All measurements."""

    def __init__(self, sides: Sequence[Side], size: Size, concurrency: int) -> None:
        self.sides = sides
        self.size = size
        self.concurrency = concurrency
        self.cpu = Figure("CPU of the worker per task", "us", 1.0, 0.75)
        self.main_cpu = Figure("CPU of its main process alone", "us")
        self.server_cpu = Figure("CPU of Redis per task, publish to result", "us")
        self.rate = Figure("tasks done", "1/s", more=True)
        self.publish = Figure("publish rate, one client", "1/s", 1.5, more=True)
        self.publish_cpu = Figure("CPU of the client per publish", "us")
        self.start = Figure("start to ready", "s", 0.5)
        self.memory = Figure("PSS", "MiB", 0.65)
        self.latency = Figure("publish to start, idle, p50", "ms", 1.0)

    @property
    def figures(self) -> list[Figure]:
        return [value for value in vars(self).values() if isinstance(value, Figure)]

    def starts(self) -> None:
        """Start to ready, and the memory of a pool that has worked."""
        for number in range(self.size.starts):
            for side in self._in_turn(number):
                with self._side(side, 2 * self.concurrency) as (worker, client):
                    self.start.add(side.name, worker.seconds)
                    if number == 0:
                        self._drain(side, client, 200)
                        self.memory.add(side.name, pss_mebibytes(worker.process.pid))
        say("starts: " + self._shown(self.start, self.memory))

    def work(self) -> None:
        """Bursts that are published while the worker stands still, then worked off; then one task at a time."""
        with self._all(self.concurrency) as pairs:
            for side, (_, client) in pairs.items():
                self._drain(side, client, 200)  # warm: scripts loaded, pools open
            for number in range(self.size.rounds):
                for side in self._in_turn(number):
                    self._burst(side, *pairs[side])
                say(f"round {number + 1}: " + self._shown(self.cpu, self.rate, self.publish))
            for number in range(self.size.probes):
                for side in self._in_turn(number):
                    self._probe(side, pairs[side][1])
        say("probes: " + self._shown(self.latency))

    def profile(self) -> None:
        """Where the CPU of the main processes goes, task by task."""
        for side in self.sides:
            path = OUT / f"profile-{side.name}.pstats"
            with self._side(side, self.concurrency, profile=path) as (_, client):
                self._drain(side, client, self.size.tasks)
            for name, stats in (("main process", path), ("a child", Path(f"{path}-child"))):
                if stats.exists():
                    print(f"\n== {name} of {side.name}, {self.size.tasks} tasks in all")
                    pstats.Stats(str(stats)).sort_stats("tottime").print_stats(30)

    def _burst(self, side: Side, worker: Worker, client: Client) -> None:
        count = self.size.tasks
        side.forget()
        server_cpu = _server_cpu(side)
        worker.pause()
        published = client.ask(f"burst {count}")
        self.publish.add(side.name, count / published["seconds"])
        self.publish_cpu.add(side.name, published["cpu"] / count * 1e6)
        pid = worker.process.pid
        cpu, main_cpu, began = cpu_seconds(pid), cpu_seconds(pid, alone=True), time.monotonic()
        worker.resume()
        until(lambda: side.done() >= count, f"the tasks of {side.name}", 0.02)
        self.rate.add(side.name, count / (time.monotonic() - began))
        time.sleep(SETTLE)
        self.cpu.add(side.name, (cpu_seconds(pid) - cpu) / count * 1e6)
        self.main_cpu.add(side.name, (cpu_seconds(pid, alone=True) - main_cpu) / count * 1e6)
        self.server_cpu.add(side.name, (_server_cpu(side) - server_cpu) / count * 1e6)

    def _probe(self, side: Side, client: Client) -> None:
        time.sleep(random.uniform(0.02, 0.12))
        probe = client.ask("probe")
        key = f"celery-task-meta-{probe['id']}"
        began = until(lambda: _success(side, key), f"a probe of {side.name}", 0.01)
        self.latency.add(side.name, (began - probe["at"]) * 1000)

    def _drain(self, side: Side, client: Client, count: int) -> None:
        side.forget()
        client.ask(f"burst {count}")
        until(lambda: side.done() >= count, f"the tasks of {side.name}", 0.02)
        time.sleep(SETTLE)

    def _in_turn(self, number: int) -> list[Side]:
        """The sides, in another order each round."""
        first = number % len(self.sides)
        return [*self.sides[first:], *self.sides[:first]]

    @contextmanager
    def _side(self, side: Side, concurrency: int, **options: Any) -> Iterator[tuple[Worker, Client]]:
        worker = side.worker(concurrency, **options)
        try:
            client = side.client()
            try:
                yield worker, client
            finally:
                client.close()
        finally:
            worker.stop()

    @contextmanager
    def _all(self, concurrency: int) -> Iterator[dict[Side, tuple[Worker, Client]]]:
        pairs: dict[Side, tuple[Worker, Client]] = {}
        try:
            for side in self.sides:
                worker = side.worker(concurrency)
                try:
                    pairs[side] = worker, side.client()
                except BenchError:
                    worker.stop()
                    raise
            yield pairs
        finally:
            for worker, client in pairs.values():
                client.close()
                worker.stop()

    def _shown(self, *figures: Figure) -> str:
        return ", ".join(
            f"{figure.name} "
            + " ".join(
                f"{side.name} {_short(figure.values[side.name][-1])}"
                for side in self.sides
                if side.name in figure.values
            )
            + f" {figure.unit}"
            for figure in figures
        )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _server_cpu(side: Side) -> float:
    with side.server.client() as client:
        found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _success(side: Side, key: str) -> float | None:
    raw = side.results.get(key)
    found = json.loads(raw) if raw else {}
    return float(found["result"]) if found.get("status") == "SUCCESS" else None


def report(bench: Bench) -> str:
    """The table of the figures."""
    names = [side.name for side in bench.sides]
    rows = []
    for figure in bench.figures:
        cells: list[object] = [figure.name, figure.unit]
        for name in names:
            median = figure.median(name)
            cells += ["-" if median is None else _short(median), figure.spread(name)]
        ratio = figure.ratio()
        cells += ["-" if ratio is None else f"{ratio:.2f}", figure.wanted, figure.verdict]
        if "TLS" in names:
            ratio = figure.ratio("TLS", "fleet")
            cells.append("-" if ratio is None else f"{ratio:.2f}")
        rows.append(cells)
    header = ["", "", *(text for name in names for text in (name, "spread")), "fleet/stock", "goal", ""]
    header += ["TLS/fleet"] if "TLS" in names else []
    return table(header, rows)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one small round: whether it runs, not how fast")
    parser.add_argument("--rounds", type=int, help=f"of bursts (default: {FULL.rounds})")
    parser.add_argument("--tasks", type=int, help=f"of each burst (default: {FULL.tasks})")
    parser.add_argument("--kind", choices=sorted(CONCURRENCY), default="prefork", help="of both pools")
    parser.add_argument("--delivery", choices=("atomic", "stock"), help="how the fleet takes messages")
    parser.add_argument(
        "--profile", action="store_true", help="only: where the main processes spend their time, by cProfile"
    )
    parser.add_argument(
        "--same-log",
        action="store_true",
        help="a third side: stock Celery that logs at info, as the fleet does",
    )
    parser.add_argument(
        "--tls", action="store_true", help="another side: the fleet by TLS, on a Redis of its own"
    )
    return parser.parse_args()


def main() -> int:
    """Measure, report; 0 unless there was nothing to measure."""
    chosen = options()
    preset = QUICK if chosen.quick else FULL
    size = Size(chosen.rounds or preset.rounds, chosen.tasks or preset.tasks, preset.probes, preset.starts)
    variables = {"celery_delivery": chosen.delivery} if chosen.delivery else {}
    OUT.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        say(f"this machine is busy (load {load:.1f}): ratios are rough")
    place = Path(tempfile.mkdtemp(prefix="bench-tasks-"))
    (place / "redis").mkdir()
    server = RedisServer(place / "redis", free_port())
    (place / "tls").mkdir()
    secured = RedisServer(place / "tls", free_port(), tls=True)
    sides: list[Side] = []
    try:
        server.start()
        sides.append(Side("stock", server, place / "stock", chosen.kind, (8, 9)))
        if chosen.same_log:
            sides.append(InfoStock("stock -l info", server, place / "info", chosen.kind, (10, 11)))
        sides.append(Fleet("fleet", server, place / "fleet", chosen.kind, variables))
        if chosen.tls:
            secured.start()
            sides.append(Fleet("TLS", secured, place / "fleet-tls", chosen.kind, variables))
        bench = Bench(sides, size, CONCURRENCY[chosen.kind])
        if chosen.profile:
            bench.profile()
            return 0
        bench.starts()
        bench.work()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        for log in sorted(place.glob("*/worker.log")):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.parent.name}", *lines[-15:], sep="\n", file=sys.stderr)
        return 1
    finally:
        for side in sides:
            side.close()
        server.stop()
        secured.stop()
        shutil.rmtree(place, ignore_errors=True)
    print("\n" + report(bench))
    machine = {"cpus": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0]}
    result = OUT / ("tasks-quick.json" if chosen.quick else f"tasks-{chosen.kind}.json")
    figures = [figure.as_dict() for figure in bench.figures]
    result.write_text(
        json.dumps({"machine": machine, "size": vars(size), "figures": figures}, indent=2) + "\n"
    )
    print(f"\nAll figures: {result.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
