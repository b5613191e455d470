"""What the exporter is told, and the metrics that it makes of a reading."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_fleet.delivery.pausing import QUEUE, WORKER, Pause
from celery_fleet.exporter import families
from celery_fleet.exporter.__main__ import main
from celery_fleet.exporter.reading import Reading, _due
from celery_fleet.exporter.settings import Expected, Settings
from celery_fleet.exporter.steps import Steps
from celery_fleet.service.environment import Environment
from celery_fleet.store.figures import Cell, Histogram, Spans
from celery_fleet.store.presence import Presence, Running
from celery_fleet.store.schedules import BeatState, ScheduleEntry
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.roster import Lease
from celery_fleet.survey.taskmetrics import as_text
from celery_fleet.topology.document import topology_document
from celery_fleet.topology.load import read_document

TOPOLOGY = read_document(
    topology_document(
        {
            "celery_app": "app",
            "celery_queues": {"celery": {"urgency": "urgent"}, "bulk": {"urgency": "bulk"}},
            "celery_task_routes": [
                {"task": "slow", "queue": "bulk", "time_limit": 100, "soft_time_limit": 90}
            ],
            "celery_beat_schedule": {"tick": {"task": "t", "schedule": 60}},
        }
    )
)
NOW = 1000.0


def presence(node: str, **more: Any) -> Presence:
    known: dict[str, Any] = {
        "node": node, "host": "h", "pid": 1, "pool": "p", "kind": "prefork", "concurrency": 4, "queues": ("celery",),
        "busy": 0, "done": 0, "failed": 0, "started_at": 1.0, "release": "r1", "memory": 5, "largest_child": 3,
        "running": (), "at": NOW,
    }  # fmt: skip
    return Presence(**known | more)


def told(reading: Reading, expected: tuple[str, ...] = ()) -> list[str]:
    wanted = tuple(Expected(each, *each.split("@")) for each in expected)
    settings = Settings(Environment(), expected=wanted)
    return as_text(families.of_reading(reading, settings, TOPOLOGY)).splitlines()


def test_a_worker_is_up_only_with_a_fresh_sign_of_life() -> None:
    reading = Reading(
        NOW,
        leases=(Lease("a@h", "h", 1, 1.0), Lease("b@h", "h", 2, 11.0)),
        presences=(presence("a@h"), presence("b@h")),
        backlogs=(Backlog("celery"),),
    )
    lines = told(reading, ("a@h", "b@h", "c@h"))
    assert [line for line in lines if line.startswith("celery_worker_up")] == [
        f'celery_worker_up{{worker="{node}@h",pool="{node}",hostname="h"}} {up}'
        for node, up in (("a", 1), ("b", 0), ("c", 0))
    ]
    assert 'celery_queue_consumers{queue_name="celery"} 1' in lines
    assert not [line for line in lines if line.startswith("celery_worker_concurrency") and "b@h" in line]


def test_workers_of_stock_delivery_are_known_by_their_word() -> None:
    """They have no leases. One was killed, and left its last word."""
    stock = replace(TOPOLOGY, delivery="stock")
    reading = Reading(
        NOW,
        presences=(presence("a@h", at=NOW - 2), presence("b@h", at=NOW - 11)),
        backlogs=(Backlog("celery"),),
    )
    wanted = tuple(Expected(node, node[0], "h") for node in ("a@h", "b@h"))
    settings = Settings(Environment(), expected=wanted)
    lines = as_text(families.of_reading(reading, settings, stock)).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("celery_worker_up{")] == ["1", "0"]
    assert 'celery_queue_consumers{queue_name="celery"} 1' in lines
    assert 'celery_worker_last_heartbeat_timestamp_seconds{worker="b@h",pool="b",hostname="h"} 989' in lines
    assert "celery_visibility_timeout_seconds 3600" in lines


def test_who_is_drained_takes_nothing_and_who_is_forgotten_is_not_expected() -> None:
    reading = Reading(
        NOW,
        leases=(Lease("a@h", "h", 1, 1.0),),
        presences=(presence("a@h"),),
        backlogs=(Backlog("celery"), Backlog("bulk")),
        forgotten=frozenset({"b@h"}),
        pauses=(Pause(WORKER, "a@h", "ann", NOW, ""), Pause(QUEUE, "bulk", "ann", NOW, "")),
    )
    lines = told(reading, ("a@h", "b@h"))
    assert 'celery_worker_draining{worker="a@h",pool="a",hostname="h"} 1' in lines
    assert 'celery_queue_consumers{queue_name="celery"} 0' in lines
    assert [line for line in lines if line.startswith("celery_queue_paused")] == [
        'celery_queue_paused{queue_name="celery"} 0',
        'celery_queue_paused{queue_name="bulk"} 1',
    ]
    assert not [line for line in lines if "b@h" in line]


def test_ages_of_tasks_are_by_the_clock_of_their_worker_and_the_limit_of_their_route() -> None:
    """Its clock is an hour ahead."""
    ahead = NOW + 3600
    running = (Running("1", "slow", ahead - 50, "bulk"), Running("2", "quick", ahead - 80, "celery"))
    reading = Reading(
        NOW,
        leases=(Lease("a@h", "h", 1, 1.0),),
        presences=(presence("a@h", at=ahead, running=running, busy=2),),
    )
    labels = '{worker="a@h",pool="a",hostname="h"}'
    lines = told(reading)
    assert f"celery_worker_oldest_task_age_seconds{labels} 80" in lines
    assert f"celery_worker_task_limit_used_ratio{labels} 0.5" in lines


def test_counts_and_histograms_are_those_of_the_store() -> None:
    spans = Spans("t", "celery", Histogram((1, 2, *[0] * 11, 1), 9.5), Histogram((0,) * 14, 0.0))
    cell = Cell("t", "celery", "a@h", {"received": 5, "started": 6}, {"ValueError": 2})
    lines = told(Reading(NOW, cells=(cell,), spans=(spans,)))
    labels = 'name="t",queue_name="celery"'
    where = f'{labels},hostname="h",worker="a@h"'
    assert f"celery_task_received_total{{{where}}} 5" in lines
    assert f'celery_task_failed_total{{{where},exception="ValueError"}} 2' in lines
    assert f"celery_task_retried_total{{{where}}} 0" in lines, "so that a rate sees the first one"
    for bound, count in (("0.05", 1), ("0.1", 3), ("1800", 3), ("+Inf", 4)):
        assert f'celery_task_queue_wait_time_bucket{{{labels},le="{bound}"}} {count}' in lines
    assert f"celery_task_queue_wait_time_sum{{{labels}}} 9.5" in lines
    assert f"celery_task_queue_wait_time_count{{{labels}}} 4" in lines


def test_a_redis_that_is_slow_is_asked_nothing_more() -> None:
    """Each of its answers comes in time, and all of them together would take longer than who scrapes waits."""
    step = Steps(0.05)
    assert step(lambda: "found") == "found"
    time.sleep(0.06)
    with pytest.raises(redis.TimeoutError, match=r"more than 0\.05 s together"):
        step(lambda: "found")


def test_an_entry_that_is_due_is_late() -> None:
    def entry(name: str, due: float | None) -> ScheduleEntry:
        return ScheduleEntry(name, "t", "every 1m", None, (), {}, 900.0, due, 1)

    beat = BeatState(990.0, "h", 1, (entry("late", 970.0), entry("soon", 1030.0), entry("odd", None)))
    lines = told(Reading(NOW, beat=beat))
    late = [line for line in lines if line.startswith("celery_beat_schedule_entry_late_seconds")]
    assert late == [
        'celery_beat_schedule_entry_late_seconds{entry="late"} 30',
        'celery_beat_schedule_entry_late_seconds{entry="soon"} 0',
    ]
    assert "celery_beat_last_heartbeat_timestamp_seconds 990" in lines


@pytest.mark.parametrize(
    ("since", "eta", "due"),
    [
        (b"100.5", b"", 100.5),
        (b"100", b"1970-01-01T00:05:00+00:00", 300.0),  # it is tried again
        (b"400", b"1970-01-01T00:05:00+00:00", 400.0),
        (b"", b"1970-01-01T00:05:00+00:00", None),  # its sender stamps nothing
        (b"100", b"soon", 100.0),
    ],
)
def test_when_a_message_was_due(since: bytes, eta: bytes, due: float | None) -> None:
    assert _due(since, eta) == due


def test_targets_follow_from_urgency_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "slos.json"
    file.write_text(
        json.dumps(
            {"bulk": {"queueing": 60, "execution": None, "objectives": {"queueing": 99.9, "errors": 95}}}
        )
    )
    settings = Settings.read({"CELERY_EXPORTER_SLOS": str(file)})
    targets = as_text(families.always(settings, TOPOLOGY)).splitlines()
    assert [line for line in targets if line.startswith("celery_queue_slo_target_seconds")] == [
        'celery_queue_slo_target_seconds{queue_name="celery",urgency="urgent",indicator="queueing"} 10',
        'celery_queue_slo_target_seconds{queue_name="celery",urgency="urgent",indicator="execution"} 10',
        'celery_queue_slo_target_seconds{queue_name="bulk",urgency="bulk",indicator="queueing"} 60',
    ]
    assert [line for line in targets if line.startswith("celery_queue_slo_objective_ratio")] == [
        'celery_queue_slo_objective_ratio{queue_name="bulk",indicator="errors"} 0.95',
        'celery_queue_slo_objective_ratio{queue_name="bulk",indicator="queueing"} 0.999',
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CELERY_EXPORTER_LISTEN", "9808", "write an address as 127.0.0.1:9808"),
        ("CELERY_EXPORTER_LISTEN", "127.0.0.1:99999", "write an address"),
        ("CELERY_EXPORTER_EXPECTED", "/nonexistent", "cannot be read: No such file"),
        ("CELERY_EXPORTER_EXPECTED", "{", "is no JSON"),
        ("CELERY_EXPORTER_EXPECTED", '[{"worker": "a@h"}]', "with worker, pool and hostname"),
        ("CELERY_EXPORTER_SLOS", '{"celery": {"queueing": "soon"}}', "must name seconds"),
        ("CELERY_BROKER_URL", "redis://h", "CELERY_FLEET_TOPOLOGY names no topology file"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    if value.startswith(("{", "[")):
        (tmp_path / "file").write_text(value)
        value = str(tmp_path / "file")
    assert main([], {name: value}) == 2
    error = capsys.readouterr().err
    assert says in error
    assert name in error or "TOPOLOGY" in error
