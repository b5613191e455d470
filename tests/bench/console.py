"""What the console costs when the fleet is full: 1,000,000 indexed tasks, 100,000 waiting, 10,000 dead letters.

    python tests/bench/console.py            # `make bench-console`: about ten minutes, most of it filling Redis
    python tests/bench/console.py --quick    # `make bench-console QUICK=1`: a fiftieth of it, whether it works

A real Redis is filled by seed.py, and the real console runs on it. Every page and every call that reads is asked for 30
times: the median is to be below 100 ms. Each is asked for once more while MONITOR listens: Redis may be asked for
nothing without a bound. Then as many requests as five minutes of ten open dashboards make come as fast as they can, and
200 live streams are held open; the memory of the console stays bounded, and each stream gets every event. The fleet's
exporter is scraped beside it.

Answers are checked in both forms; the quick one has no goals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import httpx  # noqa: E402
import redis  # noqa: E402
from measure import table  # noqa: E402
from rangewatch import Seen, Watch  # noqa: E402
from seed import Amounts, Place, seed, write_beat, write_presences  # noqa: E402
from sides import cpu_seconds, pss_mebibytes  # noqa: E402

from celery_fleet.exporter.server import Exporter  # noqa: E402
from celery_fleet.exporter.settings import Settings  # noqa: E402
from consoles import Console, ConsoleProcess, reference_variables  # noqa: E402
from integration.support import PASSWORD, USER, RedisServer, Services, free_port  # noqa: E402

OUT = ROOT / "build" / "bench"
BEGAN = time.monotonic()
GOAL = 100.0
"""Milliseconds, of each median."""
GROWTH = 60.0
"""Mebibytes that the console may grow by while it works, and by for its streams."""
SLOW = 50_000
"""Microseconds that no command of Redis may take."""


@dataclass(frozen=True)
class Size:
    """How much of everything. hold: seconds that the streams are held open."""

    amounts: Amounts
    times: int
    burst: int
    streams: int
    hold: float


FULL = Size(Amounts(1_000_000, 100_000, 10_000, audits=5000, workers=20), 30, 1500, 200, 20.0)
QUICK = Size(Amounts(20_000, 5000, 1000, audits=500, workers=20), 3, 60, 20, 6.0)

Check = Callable[[Any], object]


@dataclass
class Call:
    """What is asked for, and whether the answer is plausible: JSON as it is, a page as its text."""

    path: str
    check: Check
    status: int = 200
    milliseconds: list[float] = field(default_factory=list)
    seen: Seen | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def high(self) -> float:
        """The 95th percentile."""
        return sorted(self.milliseconds)[int(0.95 * (len(self.milliseconds) - 1))]


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"{time.monotonic() - BEGAN:4.0f}s  {text}", flush=True)


def has(*words: str) -> Check:
    """A page that has all of it, and is a whole one."""
    return lambda text: "</html>" in text and all(word in text for word in words)


def calls(console: Console, amounts: Amounts, waiting: str) -> list[Call]:
    """Every page and every reading call, at the places that cost most. waiting: the id of a task deep in its queue."""
    first = console.get("/api/v1/tasks?state=SUCCESS&limit=50")
    ended, cursor = first["tasks"][0]["task_id"], first["next_cursor"]
    letters = console.get("/api/v1/dlq/failed-tasks?limit=50")["failed_tasks"]
    letter, name = letters[0]["task_id"], "afirgen_tasks.reports.generate_pdf"
    queue = "checks"
    node = console.get("/api/v1/workers")["workers"][0]["node"]

    def tasks(least: int) -> Check:
        return lambda body: len(body["tasks"]) >= least

    return [
        Call("/ui", has(queue)),
        Call("/ui/queues", has(queue)),
        Call(f"/ui/queues/{queue}", has(queue)),
        Call("/ui/workers", has(node)),
        Call(f"/ui/workers/{node}", has(node)),
        Call("/ui/tasks", has("taskapp.")),
        Call("/ui/tasks?state=failed", has("taskapp.")),
        Call(f"/ui/tasks?name={name}&state=failed", has(name)),
        Call("/ui/tasks?text=shop-7", has("shop-7")),
        Call("/ui/tasks?text=never-there", has("</html>")),
        Call(f"/ui/tasks/{ended}", has(ended)),
        Call(f"/ui/tasks/{waiting}", has(waiting)),
        Call("/ui/dead-letters", has(letter)),
        Call(f"/ui/dead-letters?name={name}", has(name)),
        Call("/ui/dead-letters?text=shop-7", has("shop-7")),
        Call(f"/ui/dead-letters/{letter}", has(letter)),
        Call("/ui/schedules", has("check-active-applications")),
        Call("/ui/alerts", has("</html>")),
        Call("/ui/audit", has("dlq.")),
        Call("/ui/login", has("</html>")),
        Call("/api/v1/overview", lambda body: body["counts"]["waiting"] >= 0.9 * amounts.waiting),
        Call("/api/v1/charts?minutes=15", lambda body: len(body["at"]) > 10),
        Call("/api/v1/charts?minutes=60", lambda body: len(body["at"]) > 10),
        Call("/api/v1/charts?minutes=1440", lambda body: len(body["at"]) > 10),
        Call("/api/v1/tasks", tasks(50)),
        Call("/api/v1/tasks?limit=500", tasks(500)),
        Call(f"/api/v1/tasks?state=SUCCESS&cursor={cursor}", tasks(50)),
        Call("/api/v1/tasks?state=PENDING", tasks(10)),
        Call(f"/api/v1/tasks?name={name}&state=FAILURE&queue=reports", tasks(1)),
        Call("/api/v1/tasks?text=shop-7", tasks(1)),
        Call(f"/api/v1/tasks/{ended}", lambda body: body["status"] == "SUCCESS"),
        Call(f"/api/v1/tasks/{waiting}", lambda body: body["status"] == "PENDING"),
        Call("/api/v1/tasks/unknown-1", lambda body: body["code"] and body["detail"], 404),
        Call("/api/v1/tasks/metrics", lambda body: body["metrics"]["total_tasks"] >= 0.9 * amounts.tasks),
        Call("/api/v1/tasks/health", lambda body: body["status"] in ("healthy", "warning", "critical")),
        Call("/api/v1/tasks/types", lambda body: "calculate" in str(body)),
        Call("/api/v1/queues", lambda body: queue in str(body)),
        Call(f"/api/v1/queues/{queue}", lambda body: body["name"] == queue),
        Call("/api/v1/workers", lambda body: len(body["workers"]) >= amounts.workers),
        Call(f"/api/v1/workers/{node}", lambda body: body["node"] == node),
        Call("/api/v1/pools", lambda body: "default" in str(body)),
        Call("/api/v1/dlq/failed-tasks", lambda body: body["total"] >= 0.9 * amounts.dead),
        Call(f"/api/v1/dlq/failed-tasks?offset={amounts.dead // 2}", lambda body: body["failed_tasks"]),
        Call(f"/api/v1/dlq/failed-tasks?name={name}&reason=failed", lambda body: body["failed_tasks"]),
        Call("/api/v1/dlq/failed-tasks?text=shop-7", lambda body: body["failed_tasks"]),
        Call("/api/v1/schedules", lambda body: "check-active-applications" in str(body)),
        Call("/api/v1/alerts", lambda body: body["available"] is False),
        Call("/api/v1/audit", lambda body: body["entries"]),
        Call("/health", lambda body: body["status"]),
        Call("/metrics", lambda text: "tasks_in_dlq_total" in text),
    ]


class Bench:
    """A full Redis and a console on it."""

    def __init__(self, server: RedisServer, console: Console, process: ConsoleProcess, size: Size) -> None:
        assert process.process
        self.server, self.console, self.size = server, console, size
        self.pid = process.process.pid
        self.http = httpx.Client(
            base_url=console.url, headers={"X-API-Key": console.operator}, timeout=60, trust_env=False
        )
        self.problems: list[str] = []
        self.figures: dict[str, Any] = {}

    def ask(self, call: Call) -> None:
        """One request, measured and checked."""
        began = time.perf_counter()
        answer = self.http.get(call.path)
        call.milliseconds.append((time.perf_counter() - began) * 1000)
        self.verify(call, answer)

    def verify(self, call: Call, answer: httpx.Response) -> None:
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        try:
            right = answer.status_code == call.status and call.check(
                answer.json() if is_json else answer.text
            )
        except (KeyError, TypeError, IndexError):
            right = False
        if not right and len(call.faults) < 1:
            call.faults.append(f"{call.path}: {answer.status_code}: {answer.text[:200]}")

    def measure(self, found: Sequence[Call]) -> None:
        """Each call so many times, in turn, after one that is not counted."""
        for call in found:
            self.ask(call)
            call.milliseconds.clear()
        for _ in range(self.size.times):
            for call in found:
                self.ask(call)

    def watch(self, found: Sequence[Call]) -> None:
        """What each call asks of Redis. Needs a console that nobody else uses."""
        with Watch(self.client(0)) as watch:
            for call in found:
                call.seen = watch.request(lambda call=call: self.http.get(call.path))  # type: ignore[misc]
                call.faults += [f"{call.path}: {fault}" for fault in call.seen.faults(self.client)]

    def client(self, database: int) -> redis.Redis:
        return redis.Redis(port=self.server.port, db=database, username=USER, password=PASSWORD, protocol=2)

    def burst(self, found: Sequence[Call]) -> None:
        """Many requests at once; memory before and after."""
        list(map(self.ask, islice(cycle(found), len(found))))
        before, began = pss_mebibytes(self.pid), time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            answers = threads.map(
                lambda call: (call, self.http.get(call.path)), islice(cycle(found), self.size.burst)
            )
            for call, answer in answers:
                self.verify(call, answer)
        seconds, after = time.monotonic() - began, pss_mebibytes(self.pid)
        self.figures |= {
            "requests at once": f"{self.size.burst} in {seconds:.0f} s",
            "memory before and after (MiB)": f"{before:.0f}, {after:.0f}",
        }
        if after - before > GROWTH:
            self.problems.append(
                f"the console grew by {after - before:.0f} MiB in {self.size.burst} requests"
            )

    def stream(self, page: Call) -> None:
        """Live streams: each gets its events, and a page is as quick as before."""
        before, cpu, began = pss_mebibytes(self.pid), cpu_seconds(self.pid), time.monotonic()
        latencies: list[float] = []
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.5):
                started = time.perf_counter()
                self.verify(page, self.http.get(page.path))
                latencies.append((time.perf_counter() - started) * 1000)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            counts, during = asyncio.run(self._streams())
        finally:
            done.set()
            looking.join()
        share = (cpu_seconds(self.pid) - cpu) / (time.monotonic() - began)
        expected = int(self.size.hold / 2) - 2  # one every two seconds; the first and the last may be missed
        late = sum(count < expected for count in counts)
        self.figures |= {
            "streams": f"{len(counts)}, held {self.size.hold:.0f} s, {min(counts)} to {max(counts)} events each",
            "CPU with streams (share of one core)": f"{share:.2f}",
            "memory with streams (MiB)": f"{before:.0f} before, {during:.0f} with",
            f"{page.path} meanwhile (ms, median)": f"{statistics.median(latencies):.0f}",
        }
        if late:
            self.problems.append(
                f"{late} of {len(counts)} streams got less than {expected} events: {sorted(counts)[:5]}"
            )
        if during - before > GROWTH:
            self.problems.append(f"{len(counts)} streams took {during - before:.0f} MiB")
        if statistics.median(latencies) > GOAL:
            self.problems.append(f"{page.path} took {statistics.median(latencies):.0f} ms beside the streams")

    async def _streams(self) -> tuple[list[int], float]:
        """Events that each stream got, and the memory of the console while all were open."""
        address, _, port = self.console.url.removeprefix("http://").partition(":")
        head = (
            f"GET /api/v1/events HTTP/1.1\r\nHost: {address}:{port}\r\nX-API-Key: {self.console.viewer}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        )
        opened = await asyncio.gather(
            *(asyncio.open_connection(address, int(port), limit=2**22) for _ in range(self.size.streams))
        )
        counts = [0] * len(opened)

        async def read(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head.encode())
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"a stream was refused: {status!r}")
            async for line in reader:
                counts[number] += line.startswith(b"event: overview")

        readers = [asyncio.create_task(read(number, *pair)) for number, pair in enumerate(opened)]
        await asyncio.sleep(self.size.hold)
        ended = [task.exception() or "ended" for task in readers if task.done()]
        during = pss_mebibytes(self.pid)
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for _, writer in opened:
            writer.close()
        if ended:
            self.problems.append(f"{len(ended)} streams ended: {ended[0]}")
        return counts, during

    def scrape(self, environment: dict[str, str]) -> None:
        """What a scrape of the fleet's exporter takes, beside a console that is open."""
        exporter = Exporter(Settings.read(environment))
        milliseconds: list[float] = []
        for _ in range(10):
            time.sleep(1.1)  # within a second, scrapes share a reading
            began = time.perf_counter()
            text = exporter.metrics()
            milliseconds.append((time.perf_counter() - began) * 1000)
        lengths = [line for line in text.splitlines() if line.startswith("celery_queue_length{")]
        waiting = sum(float(line.rpartition(" ")[2]) for line in lengths)
        median = statistics.median(milliseconds)
        self.figures["a scrape of the exporter (ms, median)"] = f"{median:.0f}"
        if waiting < 0.9 * self.size.amounts.waiting:
            self.problems.append(f"the exporter tells of {waiting:.0f} waiting tasks")
        if median > GOAL:
            self.problems.append(f"a scrape of the exporter took {median:.0f} ms")

    def redis_was_spared(self) -> None:
        """No KEYS, nothing slow."""
        with self.client(0) as client:
            stats: Any = client.info("commandstats")
            slow: Any = client.slowlog_get(20)
        if "cmdstat_keys" in stats:
            self.problems.append("KEYS was used")
        self.figures["slow commands of Redis"] = len(slow)
        for entry in slow:
            self.problems.append(
                f"Redis took {entry['duration'] / 1000:.0f} ms for {entry['command'][:200]!r}"
            )


def keep_alive(place: Place, workers: int, ended: threading.Event) -> None:
    """Seeded workers and Beat go on saying that they are alive."""
    while not ended.wait(2):
        write_presences(place, workers)
        write_beat(place)


def deepest(place: Place) -> str:
    """The id of a task in the middle of the longest queue."""
    lengths = {name: place.broker.llen(f"{place.prefix}{name}\x06\x165") for name in place.topology.queues}
    name = max(lengths, key=lambda each: int(lengths[each]))  # type: ignore[arg-type]
    raw: Any = place.broker.lindex(f"{place.prefix}{name}\x06\x165", int(lengths[name]) // 2)  # type: ignore[arg-type]
    return str(json.loads(raw)["headers"]["id"])


def report(found: Sequence[Call]) -> str:
    """The table of the calls."""
    rows = [
        [
            call.path[:90],
            call.median,
            call.high,
            call.seen.own if call.seen else None,
            "" if call.median < GOAL else "goal missed",
        ]
        for call in found
    ]
    return table(["", "median ms", "p95 ms", "Redis commands", ""], rows)


def main() -> int:
    """Fill, ask, report; 1 when an answer is wrong or a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="little of everything: whether it works, no goals"
    )
    parser.add_argument("--processes", type=int, default=1, help="of the console (default: %(default)s)")
    parser.add_argument("--tasks", type=int, help="another number of indexed tasks")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    amounts = (
        size.amounts if chosen.tasks is None else Amounts(**{**vars(size.amounts), "tasks": chosen.tasks})
    )
    OUT.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-console-"))
    (directory / "redis").mkdir()
    server = RedisServer(directory / "redis", free_port())
    process: ConsoleProcess | None = None
    ended = threading.Event()
    load = os.getloadavg()[0]
    say(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {platform.python_version()}")
    try:
        server.start()
        with server.client() as client:
            # Else the file is written anew again and again, while all is measured.
            client.config_set("auto-aof-rewrite-percentage", 0)
        variables = reference_variables(
            celery_task_index_limit=2 * amounts.tasks, celery_dead_letter_limit=2 * amounts.dead
        )
        environment = Services(server, directory).environment("taskapp.app:app", variables, ROOT / "src")
        seed(environment, amounts, say=say)
        with server.client() as client:
            say(f"Redis has {client.info('memory')['used_memory_human']}")
            client.config_set("slowlog-log-slower-than", SLOW)
            client.config_resetstat()
            client.slowlog_reset()
        place = Place(environment)
        alive = threading.Thread(target=keep_alive, args=(Place(environment), amounts.workers, ended))
        alive.start()
        settings = {"CONSOLE_RATE": "100000"}
        process = ConsoleProcess(directory / "console", environment, chosen.processes, settings)
        console = process.start()
        bench = Bench(server, console, process, size)
        time.sleep(3)  # its poller has looked once
        found = calls(console, amounts, deepest(place))
        bench.measure(found)
        say(f"{len(found)} calls, {size.times} times each")
        bench.burst(found)
        say("many at once")
        bench.stream(found[0])
        say("streams")
        bench.scrape(environment)
        say("scrapes")
        ended.set()
        alive.join()
        bench.redis_was_spared()
        bench.watch(found)
    finally:
        ended.set()
        if process:
            process.stop()
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + report(found) + "\n")
    print(table(["", ""], bench.figures.items()))
    wrong = [fault for call in found for fault in call.faults]
    missed = [f"{call.path}: {call.median:.0f} ms" for call in found if call.median >= GOAL] + bench.problems
    write_result(chosen.quick, amounts, load, found, bench, wrong)
    for fault in wrong:
        print(f"wrong: {fault}", file=sys.stderr)
    for miss in missed if not chosen.quick else []:
        print(f"goal missed: {miss}", file=sys.stderr)
    return 1 if wrong or (missed and not chosen.quick) else 0


def write_result(
    quick: bool, amounts: Amounts, load: float, found: Sequence[Call], bench: Bench, wrong: Sequence[str]
) -> None:
    """All figures, for programs."""
    document = {
        "machine": {"cpus": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0]},
        "amounts": vars(amounts),
        "calls": {call.path: call.milliseconds for call in found},
        "figures": bench.figures,
        "problems": [*wrong, *bench.problems],
    }
    path = OUT / ("console-quick.json" if quick else "console.json")
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nAll figures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
