"""The tasks of the reference app go where the documents have them, under the settings that they list."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from acceptance.application import SLEEP, Application
from acceptance.waiting import eventually
from celery_fleet.topology import Topology, read_document
from hosts import Fleet

DOCUMENTED = [
    ("automated_gather_creation", {"events": 2, "seed": 7}, "cpu_intensive"),
    ("afirgen_tasks.email.send_confirmation", {"fir_id": "doc-1", "recipient": "a@example.org"}, "email"),
    ("afirgen_tasks.reports.generate_pdf", {"fir_id": "doc-1", "rows": [["filed", 3]]}, "reports"),
    ("afirgen_tasks.analytics.update_dashboard", {"hours": 24}, "analytics"),
    ("afirgen_tasks.cleanup.archive_old_records", {"older_than_days": 365}, "cleanup"),
    ("taskapp.applications.check_all_active", {}, "checks"),
    ("taskapp.jobs.calculate", {"data": 999}, "default"),
    ("taskapp.diagnostics.echo", {"value": 1}, "celery"),
]


@pytest.mark.parametrize(("name", "kwargs", "queue"), DOCUMENTED, ids=[each[0] for each in DOCUMENTED])
def test_a_task_runs_where_its_name_sends_it(
    name: str,
    kwargs: dict[str, Any],
    queue: str,
    app: Application,
    owners: dict[str, tuple[str, str]],
    as_inventoried: None,
) -> None:
    """C1, F1, F4, P1, A2: by its name alone; its state and result are read by its id."""
    task = app.send(name, **kwargs)
    task.result()
    meta = app.celery.backend.get_task_meta(task.id)
    host, pool = owners[queue]
    assert (meta["queue"], meta["worker"]) == (queue, f"{pool}@{host}")


def test_a_pool_for_waiting_runs_many_at_once_beside_one_for_computing(
    app: Application, as_inventoried: None
) -> None:
    """F9: forty that wait are at it together, while processes of the same host compute."""
    together, seconds = 40, 15
    waiting = [app.send(SLEEP, "checks", seconds=seconds) for _ in range(together)]
    eventually(
        lambda: {task.state for task in waiting}, "all have started at once", until=lambda s: s == {"STARTED"}
    )
    computing = app.send("automated_gather_creation", events=2, seed=time.time_ns() % 2**31)
    assert computing.result()["computed"]
    assert len({task.result()["pid"] for task in waiting}) == 1


@pytest.fixture(scope="module")
def configurations(fleet: Fleet) -> Mapping[str, Mapping[str, Any]]:
    """The settings that each worker says it has."""
    host = fleet.host(fleet.groups["workers"][0])
    return json.loads(host.check_output("fleet-celery --quiet inspect conf --timeout 15 --json"))  # type: ignore[no-any-return]


def test_every_worker_has_the_documented_settings(
    configurations: Mapping[str, Mapping[str, Any]], owners: dict[str, tuple[str, str]]
) -> None:
    """A4, F7"""
    assert set(configurations) == {f"{pool}@{host}" for host, pool in owners.values()}
    for settings in configurations.values():
        documented = {
            "task_serializer": "json",
            "result_serializer": "json",
            "accept_content": ["json"],
            "timezone": "UTC",
            "enable_utc": True,
            "task_track_started": True,
            "task_acks_late": True,
        }
        assert {name: settings[name] for name in documented} == documented


@pytest.fixture(scope="module")
def topology(fleet: Fleet) -> Topology:
    """What the workers read."""
    content = fleet.host(fleet.groups["workers"][0]).file("/etc/celery-fleet/topology.json").content_string
    return read_document(json.loads(content))


@pytest.mark.parametrize(
    ("name", "limits", "retry"),
    [
        ("automated_gather_creation", (600, 540), (3, 60, 2.0, 600, True)),
        ("promgen.tasks.notify", (60, 30), (None, 5, 2.0, 600, True)),
        ("taskapp.jobs.process", (1800, 1500), (3, 5, 2.0, 3600, False)),
    ],
)
def test_tasks_have_the_documented_policies(
    name: str, limits: tuple[int, int], retry: tuple[object, ...], topology: Topology
) -> None:
    """C2 and C3, P4, D1: that they are followed is shown by tests/integration/policy."""
    found = topology.settings_for(name)
    policy = found.retry
    assert (found.time_limit, found.soft_time_limit) == limits
    assert (policy.max_retries, policy.delay, policy.backoff, policy.max_delay, policy.jitter) == retry


def test_queues_have_the_documented_priorities(topology: Topology) -> None:
    """F1: 1 is the lowest."""
    priorities = {name: queue.settings.priority for name, queue in topology.queues.items()}
    documented = {"default": 5, "email": 3, "reports": 5, "analytics": 2, "cleanup": 1}
    assert {name: priorities[name] for name in documented} == documented
