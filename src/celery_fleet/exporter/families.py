"""Metrics made of a reading. Names and labels are those of docs/metrics.md."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from celery_fleet import __version__
from celery_fleet.store.figures import BOUNDS, Histogram
from celery_fleet.store.presence import Presence, Running
from celery_fleet.survey.taskmetrics import Metric, one
from celery_fleet.topology.model import Topology

from .reading import Reading
from .settings import INDICATORS, Expected, Settings

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

Sample = tuple[str, Mapping[str, str], float]

VISIBILITY_TIMEOUT = 3600.0
"""Seconds after which stock delivery gives a message to somebody else, unless it is told otherwise."""


def always(settings: Settings, topology: Topology) -> Iterator[Metric]:
    """What is so whether or not Redis answers."""
    queues = topology.queues.values()
    yield Metric(
        "celery_queue_info",
        GAUGE,
        "The queues of the inventory.",
        [("", {"queue_name": queue.name, "urgency": queue.urgency}, 1) for queue in queues],
    )
    yield Metric(
        "celery_queue_slo_target_seconds",
        GAUGE,
        "Within how many seconds a task should begin (queueing) or end (execution).",
        [
            ("", {"queue_name": queue.name, "urgency": queue.urgency, "indicator": indicator}, target)
            for queue in queues
            for indicator in INDICATORS
            if (target := settings.target(queue, indicator)) is not None
        ],
    )
    yield Metric(
        "celery_queue_slo_objective_ratio",
        GAUGE,
        "Which part of the tasks should meet the target, or (errors) not fail.",
        [
            ("", {"queue_name": queue.name, "indicator": indicator}, round(share / 100, 6))
            for queue in queues
            for indicator, share in sorted(settings.objectives.get(queue.name, {}).items())
        ],
    )
    yield one(
        "celery_dead_letters_limit", GAUGE, "How many dead letters are kept.", topology.dead_letter_limit
    )
    if topology.beat:
        yield one("celery_beat_expected", GAUGE, "Beat has something to send.", 1)
    yield Metric("celery_exporter_info", GAUGE, "This exporter.", [("", {"version": __version__}, 1)])


def expected(workers: Iterable[Expected], forgotten: frozenset[str] = frozenset()) -> Metric:
    """Who should be there."""
    return Metric(
        "celery_worker_expected",
        GAUGE,
        "The inventory has this worker, and no operator has said that it is not to come back.",
        [("", _worker(each.worker), 1) for each in workers if each.worker not in forgotten],
    )


def of_reading(reading: Reading, settings: Settings, topology: Topology) -> Iterator[Metric]:
    """What was read."""
    leased = topology.delivery == "atomic"
    yield expected(settings.expected, reading.forgotten)
    yield from queues(reading, leased)
    yield from workers(reading, settings.expected, topology)
    yield from held(reading, topology)
    yield Metric(
        "celery_dead_letters",
        GAUGE,
        "Tasks that have failed for good, and messages that are none.",
        [
            ("", {"queue_name": queue, "reason": reason}, count)
            for (queue, reason), count in sorted(reading.letters.items())
        ],
    )
    if topology.beat:
        yield from beat(reading)
    yield Metric(
        "celery_deploy_timestamp_seconds",
        GAUGE,
        "When hosts began to run a release.",
        [("", {"release": release}, at) for release, at in _last_deploys(reading)],
    )
    yield from tasks(reading)
    yield from reading.tasks


def queues(reading: Reading, leased: bool) -> Iterator[Metric]:
    def of_each(name: str, text: str, values: Mapping[str, float | None]) -> Metric:
        samples = [("", {"queue_name": queue}, value) for queue, value in values.items() if value is not None]
        return Metric(name, GAUGE, text, samples)

    backlogs = reading.backlogs
    yield of_each(
        "celery_queue_length",
        "Messages that wait, of all priorities.",
        {each.queue: each.waiting for each in backlogs},
    )
    yield Metric(
        "celery_queue_priority_length",
        GAUGE,
        "Messages that wait, by priority: 1 (lowest) to 10.",
        [
            ("", {"queue_name": each.queue, "priority": str(priority)}, each.by_priority.get(priority, 0))
            for each in backlogs
            for priority in range(1, 11)
        ],
    )
    yield of_each(
        "celery_queue_oldest_message_age_seconds",
        "For how long the oldest of the messages that are next has been due; 0: none waits.",
        reading.ages,
    )
    yield of_each(
        "celery_queue_parked", "Messages that are due later.", {each.queue: each.parked for each in backlogs}
    )
    yield of_each(
        "celery_queue_unacked",
        "Messages that workers hold: they run, or are about to.",
        {each.queue: each.unacked for each in backlogs},
    )
    alive = reading.alive(leased)
    taking = [each for each in reading.presences if each.node in alive and not _draining(reading, each.node)]
    yield of_each(
        "celery_queue_consumers",
        "Workers that are alive and take from the queue.",
        {each.queue: sum(each.queue in presence.queues for presence in taking) for each in backlogs},
    )
    paused = reading.paused()
    yield of_each(
        "celery_queue_paused",
        "An operator has paused the queue.",
        {each.queue: each.queue in paused for each in backlogs},
    )


def workers(reading: Reading, wanted: Sequence[Expected], topology: Topology) -> Iterator[Metric]:
    alive = reading.alive(topology.delivery == "atomic")
    leased = {lease.node: lease for lease in reading.leases}
    said = {each.node: each for each in reading.presences if each.node in alive}
    nodes = {each.worker for each in wanted} - reading.forgotten | leased.keys() | said.keys()

    def of_each(name: str, text: str, values: Mapping[str, float | None]) -> Metric:
        samples = [("", _worker(node), value) for node, value in sorted(values.items()) if value is not None]
        return Metric(name, GAUGE, text, samples)

    yield of_each(
        "celery_worker_up",
        "The worker has given a sign of life in the last ten seconds.",
        {node: node in alive for node in nodes},
    )
    yield of_each(
        "celery_worker_last_heartbeat_timestamp_seconds",
        "When the worker gave its last sign of life.",
        {node: reading.at - lease.age for node, lease in leased.items()}
        or {each.node: each.at for each in reading.presences},
    )
    yield of_each(
        "celery_worker_draining",
        "An operator has the worker take nothing more.",
        {node: _draining(reading, node) for node in nodes},
    )
    yield of_each(
        "celery_worker_concurrency",
        "Tasks that the worker can run at once.",
        {node: each.concurrency for node, each in said.items()},
    )
    yield of_each(
        "celery_worker_tasks_active", "Tasks that run.", {node: each.busy for node, each in said.items()}
    )
    yield of_each(
        "celery_worker_oldest_task_age_seconds",
        "For how long the oldest of the tasks that run has run.",
        {node: _oldest(each) for node, each in said.items()},
    )
    yield of_each(
        "celery_worker_task_limit_used_ratio",
        "The largest part of its time limit that a task which runs has used; above 1 nothing ends it.",
        {node: _limit_used(each, topology) for node, each in said.items()},
    )
    yield of_each(
        "celery_worker_memory_bytes",
        "Memory of the worker's processes; what they share is counted once.",
        {node: each.memory for node, each in said.items()},
    )
    yield of_each(
        "celery_worker_largest_child_bytes",
        "Resident memory of the worker's largest child, or of a worker that has none.",
        {node: each.largest_child for node, each in said.items()},
    )
    yield Metric(
        "celery_worker_info",
        GAUGE,
        "What a worker is, and which release it runs.",
        [
            ("", {**_worker(node), "kind": each.kind, "release": each.release}, 1)
            for node, each in sorted(said.items())
        ],
    )


def held(reading: Reading, topology: Topology) -> Iterator[Metric]:
    yield Metric(
        "celery_unacked_messages",
        GAUGE,
        "Messages that a worker has taken and not acknowledged.",
        [("", {"worker": node}, each.count) for node, each in sorted(reading.held.items())],
    )
    yield Metric(
        "celery_unacked_oldest_age_seconds",
        GAUGE,
        "For how long a worker holds the oldest of them.",
        [
            ("", {"worker": node}, max(0.0, reading.at - each.oldest))
            for node, each in sorted(reading.held.items())
            if each.oldest is not None
        ],
    )
    if topology.delivery == "stock":
        # With atomic delivery a message is somebody's until that worker is gone, however long it takes.
        yield one(
            "celery_visibility_timeout_seconds",
            GAUGE,
            "After so long a message is given to another worker, though its own still has it.",
            VISIBILITY_TIMEOUT,
        )


def beat(reading: Reading) -> Iterator[Metric]:
    state = reading.beat
    if state is None:
        return
    yield one(
        "celery_beat_last_heartbeat_timestamp_seconds",
        GAUGE,
        "When Beat gave its last sign of life.",
        state.at,
    )

    def of_each(what: str, text: str, values: Mapping[str, float | None]) -> Metric:
        samples = [("", {"entry": entry}, value) for entry, value in values.items() if value is not None]
        return Metric(f"celery_beat_schedule_entry_{what}", GAUGE, text, samples)

    entries = state.entries
    yield of_each(
        "last_run_timestamp_seconds", "When it was last sent.", {each.name: each.last_run for each in entries}
    )
    yield of_each(
        "next_run_timestamp_seconds", "When it is due.", {each.name: each.next_run for each in entries}
    )
    yield of_each(
        "late_seconds",
        "For how long it has been due.",
        {
            each.name: None if each.next_run is None else max(0.0, reading.at - each.next_run)
            for each in entries
        },
    )


def tasks(reading: Reading) -> Iterator[Metric]:
    for what, text in (
        ("received", "Tasks that workers have received, each once."),
        ("started", "How often a task began to run."),
        ("succeeded", "Tasks that have succeeded."),
        ("retried", "How often a task was tried again."),
        ("revoked", "Tasks that were cancelled."),
    ):
        yield Metric(
            f"celery_task_{what}_total",
            COUNTER,
            text,
            [
                # A 0 too: a rate does not see the first value of a series.
                ("", _task(cell.name, cell.queue, cell.worker), cell.counts.get(what, 0))
                for cell in reading.cells
            ],
        )
    yield Metric(
        "celery_task_failed_total",
        COUNTER,
        "Tasks that have failed for good, by exception.",
        [
            ("", {**_task(cell.name, cell.queue, cell.worker), "exception": exception}, count)
            for cell in reading.cells
            for exception, count in sorted(cell.failed.items())
        ],
    )
    for name, text, of in (
        ("celery_task_runtime", "How long tasks ran that have succeeded, in seconds.", "runtime"),
        ("celery_task_queue_wait_time", "How long tasks waited from when they were due, in seconds.", "wait"),
    ):
        yield Metric(
            name,
            HISTOGRAM,
            text,
            [
                sample
                for each in reading.spans
                for sample in _histogram({"name": each.name, "queue_name": each.queue}, getattr(each, of))
            ],
        )


def own_health(
    up: bool, duration: float, reads: int, errors: int, succeeded_at: float | None
) -> Iterator[Metric]:
    """`duration`: seconds of the last reading; `succeeded_at`: of the last one that did."""
    yield one("celery_exporter_redis_up", GAUGE, "Redis has answered.", up)
    yield one("celery_exporter_read_duration_seconds", GAUGE, "How long the last reading took.", duration)
    yield one("celery_exporter_reads_total", COUNTER, "Readings.", reads)
    yield one("celery_exporter_read_errors_total", COUNTER, "Readings that Redis did not answer.", errors)
    if succeeded_at is not None:
        yield one(
            "celery_exporter_last_success_timestamp_seconds",
            GAUGE,
            "When Redis last answered.",
            succeeded_at,
        )


def _worker(node: str) -> dict[str, str]:
    pool, _, host = node.partition("@")
    return {"worker": node, "pool": pool, "hostname": host}


def _task(name: str, queue: str, worker: str) -> dict[str, str]:
    return {"name": name, "queue_name": queue, "hostname": worker.partition("@")[2], "worker": worker}


def _draining(reading: Reading, node: str) -> bool:
    return any(pause.holds(node) for pause in reading.pauses)


def _oldest(presence: Presence) -> float:
    return max((_age(presence, running) for running in presence.running), default=0.0)


def _limit_used(presence: Presence, topology: Topology) -> float:
    used = (
        _age(presence, running) / topology.settings_for(running.name).time_limit
        for running in presence.running
    )
    return max(used, default=0.0)


def _age(presence: Presence, running: Running) -> float:
    """By the worker's own clock, at its last word."""
    return max(0.0, presence.at - running.started)


def _last_deploys(reading: Reading) -> list[tuple[str, float]]:
    """Each release once, when it was last switched to."""
    last: dict[str, float] = {}
    for each in reading.deploys:
        last.setdefault(each.release, each.at)
    return list(last.items())


def _histogram(labels: Mapping[str, str], histogram: Histogram) -> Iterator[Sample]:
    below = 0
    for bound, count in zip(BOUNDS, histogram.counts, strict=True):
        below += count
        yield "_bucket", {**labels, "le": "+Inf" if math.isinf(bound) else f"{bound:g}"}, below
    yield "_sum", labels, histogram.sum
    yield "_count", labels, below
