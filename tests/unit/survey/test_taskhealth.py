"""When tasks do badly."""

import pytest

from celery_fleet.store.figures import Totals
from celery_fleet.store.presence import Presence, Running
from celery_fleet.survey.taskhealth import CRITICAL, HEALTHY, WARNING, Alert, judge_tasks

NOW = 1000.0


def worker(*durations: float, largest: int = 0, at: float = NOW) -> Presence:
    running = tuple(Running("abc123", "app.a", NOW - seconds, "celery") for seconds in durations)
    return Presence(
        node="default@a", host="a", pid=1, pool="default", kind="prefork", concurrency=4, queues=("celery",),
        busy=len(running), done=1, failed=0, started_at=0.0, release="r1", memory=largest, largest_child=largest,
        running=running, at=at,
    )  # fmt: skip


def test_tasks_that_do_well() -> None:
    found = judge_tasks(Totals(150, succeeded=135, failed=10, revoked=5), [worker(480)], NOW)
    assert (found.status, found.success_rate, found.failure_rate, found.alerts) == (HEALTHY, 90.0, 6.67, ())
    assert judge_tasks(Totals(), [], NOW).failure_rate == 0


@pytest.mark.parametrize(
    ("failed", "status"), [(10, HEALTHY), (11, WARNING), (20, WARNING), (21, CRITICAL), (100, CRITICAL)]
)
def test_failures(failed: int, status: str) -> None:
    found = judge_tasks(Totals(100, succeeded=100 - failed, failed=failed), [], NOW)
    assert found.status == status
    assert [(each.severity, each.metric, each.value) for each in found.alerts] == (
        [] if status == HEALTHY else [(status, "failure_rate", float(failed))]
    )


@pytest.mark.parametrize(
    ("seconds", "status"), [(480, HEALTHY), (481, WARNING), (520, WARNING), (570, WARNING), (571, CRITICAL)]
)
def test_durations(seconds: int, status: str) -> None:
    found = judge_tasks(Totals(), [worker(seconds)], NOW)
    assert found.status == status
    if status != HEALTHY:
        message = f"Task abc123 running for {seconds} seconds"
        assert found.alerts == (Alert(status, message, "task_duration", seconds, task_id="abc123"),)


@pytest.mark.parametrize(
    ("size", "status"),
    [(1_500_000_000, HEALTHY), (1_600_000_000, WARNING), (1_900_000_000, WARNING), (1_900_000_001, CRITICAL)],
)
def test_memory(size: int, status: str) -> None:
    found = judge_tasks(Totals(), [worker(largest=size)], NOW)
    assert found.status == status
    assert [(each.metric, each.worker) for each in found.alerts] == (
        [] if status == HEALTHY else [("memory_usage", "default@a")]
    )


def test_the_worst_comes_first_and_decides() -> None:
    found = judge_tasks(Totals(10, 8, 2), [worker(500, 600), worker(900, at=NOW - 60)], NOW)
    assert found.status == CRITICAL
    assert [(each.severity, each.metric) for each in found.alerts] == [
        (CRITICAL, "task_duration"),
        (WARNING, "failure_rate"),
        (WARNING, "task_duration"),
    ]
