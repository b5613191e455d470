"""The figures of tasks as metrics, and metrics in the text format of Prometheus."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from celery_fleet.policy.priority import broker_priority
from celery_fleet.store.figures import PRIORITIES, Figures, NameFigures, priority_word

from .backlog import Backlog


class Metric(NamedTuple):
    """A metric, and its samples: suffix of the name, labels, value."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[str, Mapping[str, str], float]]


def of_fleet(
    figures: Figures,
    task_types: Mapping[str, str],
    backlogs: Iterable[Backlog],
    *,
    letters: int,
    alive: int,
    retrying: int,
) -> list[Metric]:
    """The ten metrics. `letters`: dead letters, `alive`: workers, `retrying`: tasks that wait for their next attempt.

    Raises redis.RedisError.
    """
    return [
        *of_types(by_type(figures.by_name(), task_types)),
        one("task_retries_total", "counter", "Retries of tasks.", figures.totals().retried),
        one("tasks_in_dlq_total", "gauge", "Dead letters that are kept.", letters),
        one("active_workers_total", "gauge", "Workers that are alive.", alive),
        pending(backlogs),
        one("retry_tasks_total", "gauge", "Tasks that wait for their next attempt.", retrying),
        Metric(
            "worker_errors_total",
            "counter",
            "Failures of tasks by worker and exception.",
            [
                ("", {"worker": worker, "type": error}, count)
                for (worker, error), count in sorted(figures.worker_errors().items())
            ],
        ),
    ]


def by_type(figures: Mapping[str, NameFigures], types: Mapping[str, str]) -> dict[str, NameFigures]:
    """Figures by the type that tasks are submitted as; of tasks that have none, by their names.

    >>> by_type({"app.run": NameFigures(succeeded=1)}, {"run": "app.run"})["run"].succeeded
    1
    """
    short: dict[str, str] = {}
    for alias, name in types.items():
        if alias not in figures:
            short.setdefault(name, alias)
    return {short.get(name, name): each for name, each in figures.items()}


def of_types(figures: Mapping[str, NameFigures]) -> list[Metric]:
    """What is counted for each type of task."""
    return [
        Metric(
            "task_submissions_total",
            "counter",
            "Tasks that workers have received, each once.",
            [
                ("", {"priority": priority, "type": name}, count)
                for name, each in figures.items()
                for priority, count in each.received.items()
            ],
        ),
        Metric(
            "task_completions_total",
            "counter",
            "Tasks that have ended.",
            [
                ("", {"type": name, "status": status}, count)
                for name, each in figures.items()
                for status, count in (
                    ("success", each.succeeded),
                    ("failure", each.failed),
                    ("revoked", each.revoked),
                )
            ],
        ),
        Metric(
            "task_duration_seconds",
            "histogram",
            "How long tasks ran that have succeeded.",
            [sample for name, each in figures.items() for sample in _histogram(name, each)],
        ),
        Metric(
            "task_failures_total",
            "counter",
            "Tasks that have failed for good, by exception.",
            [
                ("", {"type": name, "error": error}, count)
                for name, each in figures.items()
                for error, count in sorted(each.errors.items())
            ],
        ),
    ]


def _histogram(name: str, figures: NameFigures) -> Iterable[tuple[str, Mapping[str, str], float]]:
    buckets = figures.buckets or ((math.inf, figures.succeeded),)
    for bound, count in buckets:
        yield "_bucket", {"type": name, "le": "+Inf" if math.isinf(bound) else f"{bound:g}"}, count
    yield "_sum", {"type": name}, figures.runtime
    yield "_count", {"type": name}, buckets[-1][1]


def pending(backlogs: Iterable[Backlog]) -> Metric:
    """What waits in all queues, by the words that priorities are called."""
    found = Counter(dict.fromkeys(PRIORITIES, 0))
    for backlog in backlogs:
        for priority, size in backlog.by_priority.items():
            found[priority_word(broker_priority(priority))] += size
    samples = [("", {"priority": priority}, count) for priority, count in found.items()]
    return Metric("pending_tasks_total", "gauge", "Tasks that wait in queues.", samples)


def as_text(metrics: Iterable[Metric]) -> str:
    r"""The exposition format.

    >>> print(as_text([Metric("m_total", "counter", "Help.", [("", {"type": 'a"b'}, 1)])]), end="")
    # HELP m_total Help.
    # TYPE m_total counter
    m_total{type="a\"b"} 1
    """
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for suffix, labels, value in metric.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{suffix}{f'{{{told}}}' if told else ''} {value:.15g}")
    return "\n".join(lines) + "\n"


def one(name: str, kind: str, text: str, value: float) -> Metric:
    """A metric of one value, without labels."""
    return Metric(name, kind, text, [("", {}, value)])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
