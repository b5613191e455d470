"""Fills the Redis of a fleet with work as a busy week leaves it, so that pages and figures have something to show.

    python tests/bench/seed.py --tasks 1000000 --waiting 100000 --dead 10000

Everything is written as the fleet itself writes it: tasks into the index by the same script that workers use, waiting
messages by the fleet's own producer, dead letters, the audit, workers, their tasks and Beat by their stores. It needs
what every service of the fleet has in its environment: CELERY_BROKER_URL, CELERY_FLEET_TOPOLOGY and, if Redis wants
one, CELERY_FLEET_REDIS_PASSWORD_FILE. The same amounts make the same data, but for the moment at which they end: now.

It only adds. Workers that consume the queues will run what waits: name queues that nobody consumes (--queues).
A fleet remembers as many tasks and letters as its topology says (celery_task_index_limit, celery_dead_letter_limit).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from celery_fleet.install import bare_app  # noqa: E402
from celery_fleet.service.environment import Environment  # noqa: E402
from celery_fleet.store.audit import Audit  # noqa: E402
from celery_fleet.store.catalogue import Catalogue, Parameter, TaskType  # noqa: E402
from celery_fleet.store.connection import broker_client, key_prefix, state_client  # noqa: E402
from celery_fleet.store.deadletters import DeadLetters, letter_of  # noqa: E402
from celery_fleet.store.figures import Figures  # noqa: E402
from celery_fleet.store.headers import SINCE  # noqa: E402
from celery_fleet.store.index import TaskIndex, TaskRecord  # noqa: E402
from celery_fleet.store.presence import Presence, Presences, Running  # noqa: E402
from celery_fleet.store.schedules import BeatState, ScheduleEntry, Schedules  # noqa: E402
from celery_fleet.topology.load import load_topology  # noqa: E402
from celery_fleet.topology.model import Topology  # noqa: E402

DAY = 86_400.0
BATCH = 2000


@dataclass(frozen=True)
class Amounts:
    """How much of everything. `days`: how far back the indexed tasks go."""

    tasks: int = 20_000
    waiting: int = 1000
    dead: int = 500
    audits: int = 500
    workers: int = 12
    days: float = 7.0


@dataclass(frozen=True)
class Kind:
    """A task as it occurs: how often, how long it takes, how many in a hundred fail, and how."""

    name: str
    weight: float
    seconds: float
    failing: float
    error: str
    call: Callable[[random.Random], tuple[list[Any], dict[str, Any]]]


def _application(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [f"shop-{rng.randrange(400)}"], {}


def _notice(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [], {"payload": {"alert": f"DiskFull-{rng.randrange(90)}", "severity": "page"}}


def _mail(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    number = rng.randrange(100_000)
    return [f"FIR-{number}", f"person{number}@example.org"], {}


def _gather(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [], {"events": rng.randrange(1, 40), "stations": 24, "seed": rng.randrange(1000)}


def _number(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [rng.randrange(10**9)], {}


def _text(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [f"line {rng.randrange(10**6)} of a text"], {}


def _none(rng: random.Random) -> tuple[list[Any], dict[str, Any]]:
    return [], {}


KINDS = (
    Kind(
        "taskapp.applications.check_health", 34, 0.12, 1.5, "TransientError: no answer to GET", _application
    ),
    Kind("promgen.tasks.notify", 21, 0.25, 0.6, "SoftTimeLimitExceeded: 30", _notice),
    Kind("afirgen_tasks.email.send_confirmation", 14, 0.6, 1.0, "SMTPServerDisconnected: closed", _mail),
    Kind("taskapp.jobs.process", 10, 0.02, 0.2, "ValueError: not a text", _text),
    Kind("taskapp.jobs.calculate", 9, 0.05, 0.9, "OverflowError: too large", _number),
    Kind("afirgen_tasks.reports.generate_pdf", 5, 8.0, 2.5, "TimeLimitExceeded: 600", _mail),
    Kind("afirgen_tasks.analytics.update_dashboard", 3, 3.5, 0.4, "OperationalError: is locked", _none),
    Kind("automated_gather_creation", 2, 180.0, 6.0, "WorkerLostError: signal 9 (SIGKILL)", _gather),
    Kind("afirgen_tasks.cleanup.archive_old_records", 1, 40.0, 0.5, "OSError: no space left", _none),
    Kind("taskapp.applications.update_metadata", 1, 0.4, 3.0, "TransientError: answered 503", _application),
)

ENDS = (("REVOKED", 0.008), ("IGNORED", 0.002), ("RETRY", 0.004))
"""How else tasks end, or are at present, and how many of all."""


class Place:
    """Where to write: the connections and the stores of a fleet. Processes make their own."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        environment = Environment.read(variables)
        if environment.topology is None or not environment.broker_url:
            raise SystemExit(
                "CELERY_BROKER_URL and CELERY_FLEET_TOPOLOGY have to name Redis and the topology"
            )
        self.topology: Topology = load_topology(environment.topology)
        self.app = bare_app(environment, self.topology)
        self.broker, self.state = broker_client(self.app), state_client(self.app)
        for client in (self.broker, self.state):  # so many writes at once may take Redis a while
            client.connection_pool.connection_kwargs["socket_timeout"] = 60.0
        self.prefix = key_prefix(self.app)
        limits = self.topology.dead_letter_age, self.prefix
        self.index = TaskIndex(self.state, self.topology.task_index_limit, *limits)
        self.letters = DeadLetters(self.state, self.topology.dead_letter_limit, *limits)

    def close(self) -> None:
        self.broker.close()
        self.state.close()
        self.app.close()


def kinds_of(topology: Topology, queues: Sequence[str] = ()) -> list[Kind]:
    """The kinds of tasks that go to these queues; to any, when none is named."""
    return [kind for kind in KINDS if not queues or topology.queue_for(kind.name).name in queues]


def task_id(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def due_times(count: int, days: float, now: float, rng: random.Random) -> Iterator[float]:
    """Moments up to now, evenly by number and in waves of a day."""
    for number in range(count):
        share = (number + rng.random()) / count
        wave = 0.3 * DAY / (2 * math.pi) * math.sin(2 * math.pi * share * days)
        yield now - min(days * DAY, max(0.0, days * DAY * (1 - share) + wave))


def records(
    count: int, days: float, now: float, topology: Topology, seed: str, running: int
) -> Iterator[TaskRecord]:
    """Tasks as they have ended, oldest first; the last few still run."""
    rng = random.Random(seed)
    weights = [kind.weight for kind in KINDS]
    queues = {kind.name: topology.queue_for(kind.name).name for kind in KINDS}
    shown = {kind.name: [kind.call(rng) for _ in range(500)] for kind in KINDS}
    for number, since in enumerate(due_times(count, days, now, rng)):
        kind = rng.choices(KINDS, weights)[0]
        args, kwargs = rng.choice(shown[kind.name])
        waited = rng.expovariate(1 / 0.4)
        ran = kind.seconds * rng.lognormvariate(0, 0.5)
        record = TaskRecord(
            task_id(rng),
            "STARTED",
            since + waited,
            name=kind.name,
            queue=queues[kind.name],
            worker=f"{_pool(queues[kind.name])}@worker{1 + rng.randrange(4)}",
            args=repr(tuple(args)),
            kwargs=repr(kwargs),
            since=since,
            received=since + waited,
            started=since + waited,
            priority=rng.choice((5, 5, 5, 5, 5, 2, 7)),
            trace_id=f"{rng.getrandbits(128):032x}",
        )
        if count - number > running and since + waited + ran <= now:
            record = _ended(record, kind, since + waited + ran, ran, rng)
        yield record


def _ended(record: TaskRecord, kind: Kind, at: float, ran: float, rng: random.Random) -> TaskRecord:
    draw = rng.random()
    for state, share in (("FAILURE", kind.failing / 100), *ENDS):
        draw -= share
        if draw < 0:
            error = kind.error if state in ("FAILURE", "RETRY") else ""
            return replace(record, state=state, at=at, ended=at, retries=3 if error else 0, error=error)
    return replace(record, state="SUCCESS", at=at, ended=at, runtime=ran)


def _pool(queue: str) -> str:
    return {"email": "mail", "reports": "reports", "cpu_intensive": "cpu", "checks": "checks"}.get(
        queue, "background" if queue in ("analytics", "cleanup") else "default"
    )


def write_tasks(place: Place, count: int, days: float, now: float, seed: str, running: int) -> None:
    made = records(count, days, now, place.topology, seed, running)
    while chunk := list(islice(made, BATCH)):
        place.index.write(chunk)


def publish(place: Place, count: int, queues: Sequence[str], seed: str) -> list[TaskRecord]:
    """Sends tasks; what the index is to say of some of them."""
    rng = random.Random(seed)
    kinds = kinds_of(place.topology, queues)
    if not kinds:
        raise SystemExit(f"no task goes to {', '.join(queues)}: its topology has no such routes")
    told, now = [], time.time()
    with place.app.producer_or_acquire() as producer:
        for number in range(count):
            since = now - _LINE * (1 - number / count)
            kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
            args, kwargs = kind.call(rng)
            options: dict[str, Any] = {
                "priority": rng.choice((1, 3, 5, 5, 5, 5, 8, 10)),
                "headers": {SINCE: since},
            }
            if number % 100 == 99:
                options["countdown"] = rng.uniform(3600, DAY)
            sent = place.app.send_task(
                kind.name, args, kwargs, task_id=task_id(rng), producer=producer, **options
            )
            if number % 10 == 0:
                queue = place.topology.queue_for(kind.name).name
                shown = {"args": repr(tuple(args)), "kwargs": repr(kwargs), "name": kind.name}
                told.append(TaskRecord(sent.id, "PENDING", since, queue=queue, since=since, **shown))
    return told


_LINE = 900.0
"""Seconds for which the first of those that wait has waited."""


def write_dead(place: Place, count: int, days: float, now: float) -> None:
    rng = random.Random("dead")
    reasons = ("failed", "failed", "exhausted", "exhausted", "time_limit", "worker_lost")
    for failed_at in due_times(count, days, now, rng):
        kind = rng.choice(KINDS)
        args, kwargs = kind.call(rng)
        queue = place.topology.queue_for(kind.name).name
        exception, _, error = kind.error.partition(": ")
        message = envelope(task_id(rng), kind.name, queue, args, kwargs, failed_at - 100)
        place.letters.add(
            letter_of(
                message,
                reason=rng.choice(reasons),
                exception=exception,
                error=error,
                failed_at=failed_at,
                traceback=TRACEBACK.format(name=kind.name, error=kind.error),
                worker=f"{_pool(queue)}@worker{1 + rng.randrange(4)}",
            )
        )


TRACEBACK = """Traceback (most recent call last):
  File "/opt/fleet/current/lib/python3.13/site-packages/celery/app/trace.py", line 585, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/opt/fleet/current/app/{name}.py", line 42, in run
    return work(*args, **kwargs)
{error}
"""


def envelope(
    task: str, name: str, queue: str, args: Sequence[Any], kwargs: Mapping[str, Any], since: float
) -> str:
    """A message as it lies in Redis."""
    return json.dumps(
        {
            "body": json.dumps([args, kwargs, {"callbacks": None, "errbacks": None, "chain": None}]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": name,
                "id": task,
                "root_id": task,
                "retries": 3,
                "fleet_since": since,
            },
            "properties": {
                "correlation_id": task,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 5,
                "body_encoding": "utf-8",
                "delivery_tag": task,
            },
        }
    )


def write_audit(place: Place, count: int) -> None:
    rng, audit = random.Random("audit"), Audit(place.state, place.prefix)
    actions = ("dlq.retry", "dlq.delete", "queue.pause", "queue.resume", "task.cancel", "worker.drain")
    for _ in range(count):
        audit.add(rng.choice(("ann@ops", "bob@ops", "operator")), rng.choice(actions), task_id(rng))


def presences(count: int, topology: Topology, now: float, seed: str = "workers") -> list[Presence]:
    """Workers as they say of themselves that they are, each with something to do."""
    rng = random.Random(seed)
    queues = list(topology.queues)
    kinds = kinds_of(topology)
    found = []
    for number in range(count):
        queue = queues[number % len(queues)]
        pool, host = _pool(queue), f"worker{1 + number}"
        kind = {"mail": "threads", "checks": "gevent"}.get(pool, "prefork")
        work = [
            Running(task_id(rng), rng.choice(kinds).name, now - rng.expovariate(1 / 20), queue)
            for _ in range(rng.randrange(1, 5))
        ]
        found.append(
            Presence(
                node=f"{pool}@{host}",
                host=host,
                pid=1000 + number,
                pool=pool,
                kind=kind,
                concurrency=4 if kind == "prefork" else 50,
                queues=(queue,),
                busy=len(work),
                done=rng.randrange(10_000, 900_000),
                failed=rng.randrange(900),
                started_at=now - rng.uniform(3600, 5 * DAY),
                release="seeded",
                memory=rng.randrange(120, 900) << 20,
                largest_child=rng.randrange(60, 200) << 20,
                running=tuple(work),
                at=now,
            )
        )
    return found


def write_presences(place: Place, count: int) -> None:
    """Fresh for ten seconds: who wants them alive calls again."""
    store = Presences(place.state, place.prefix)
    for presence in presences(count, place.topology, time.time()):
        store.write(presence)


def write_catalogue(place: Place) -> None:
    parameter = Parameter("data", "positional", True, "", "")
    types = [TaskType(kind.name, (parameter,), "Made by the seed.", "seeded", ("default",)) for kind in KINDS]
    Catalogue(place.state, place.prefix).write(types, "seeded")


def write_beat(place: Place) -> None:
    now = time.time()
    entries = tuple(
        ScheduleEntry(
            name=name,
            task=entry.task,
            schedule=str(entry.schedule),
            queue=entry.queue,
            args=tuple(entry.args),
            kwargs=dict(entry.kwargs),
            last_run=now - 120,
            next_run=now + 180,
            runs=2016,
        )
        for name, entry in place.topology.beat.items()
    )
    Schedules(place.state, place.prefix).write(BeatState(at=now, host="monitor1", pid=4711, entries=entries))


def write_samples(place: Place, hours: float = 2.0) -> None:
    """The sampled gauges of the last hours: what waited, what ran, how old the oldest was."""
    rng, figures, now = random.Random("samples"), Figures(place.state, place.prefix), time.time()
    moment, queues = now - hours * 3600, list(place.topology.queues)
    while moment < now:
        gauges = {}
        for number, name in enumerate(queues):
            wave = (1 + math.sin(moment / 700 + number)) / (1 + number)
            gauges[name] = (
                int(60 * wave + 3 * rng.random()),
                rng.randrange(1, 5),
                12 * wave + rng.random() / 4,
            )
        figures.sample(moment, gauges)
        moment += 10


def seed(
    variables: Mapping[str, str],
    amounts: Amounts,
    queues: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Writes all of it."""
    began = time.monotonic()
    if amounts.tasks < _ALONE:
        for half in (0, 1):
            _half_of_the_tasks(variables, amounts, half, time.time())
    else:
        _two_processes(variables, amounts)
    say(f"{amounts.tasks:,} tasks in {time.monotonic() - began:.0f} s")
    began, place = time.monotonic(), Place(variables)
    try:
        if amounts.waiting:
            place.index.write(publish(place, amounts.waiting, queues, "waiting"))
        say(f"{amounts.waiting:,} messages in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        write_dead(place, amounts.dead, amounts.days, time.time())
        write_audit(place, amounts.audits)
        write_catalogue(place)
        write_beat(place)
        write_presences(place, amounts.workers)
        write_samples(place)
        say(
            f"{amounts.dead:,} dead letters, {amounts.audits:,} audit entries, {amounts.workers} workers, Beat and "
            f"gauges in {time.monotonic() - began:.0f} s"
        )
    finally:
        place.close()


_ALONE = 50_000
"""Fewer tasks are written sooner than a process is started."""


def _two_processes(variables: Mapping[str, str], amounts: Amounts) -> None:
    context = multiprocessing.get_context("spawn")
    halves = [
        context.Process(target=_half_of_the_tasks, args=(dict(variables), amounts, half, time.time()))
        for half in (0, 1)
    ]
    for process in halves:
        process.start()
    for process in halves:
        process.join()
    if any(process.exitcode for process in halves):
        raise SystemExit("the tasks could not be written; the message is above")


def _half_of_the_tasks(variables: Mapping[str, str], amounts: Amounts, half: int, now: float) -> None:
    place = Place(variables)
    count = amounts.tasks // 2 + (amounts.tasks % 2) * half
    days = amounts.days / 2
    write_tasks(place, count, days, now - (1 - half) * days * DAY, f"tasks {half}", 40 * half)
    place.close()


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Amounts()
    for name, text in (
        ("tasks", "in the index"),
        ("waiting", "messages in queues, one in a hundred due later"),
        ("dead", "dead letters"),
        ("audits", "entries of the audit"),
        ("workers", "that say they are alive, for ten seconds"),
    ):
        parser.add_argument(
            f"--{name}", type=int, metavar="N", default=getattr(default, name), help=f"{text} (%(default)s)"
        )
    parser.add_argument(
        "--days", type=float, default=default.days, help="how far back the tasks go (%(default)s)"
    )
    parser.add_argument(
        "--queues", default="", help="only messages of tasks that go to these, separated by commas"
    )
    return parser.parse_args()


def main() -> int:
    """Fill what the environment names."""
    chosen = vars(options())
    queues = tuple(filter(None, chosen.pop("queues").split(",")))
    seed(os.environ, Amounts(**chosen), queues, print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
