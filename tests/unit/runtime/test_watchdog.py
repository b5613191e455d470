"""Who deserves a ping."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from celery_fleet.service.beat import BeatWatch
from celery_fleet.service.readiness import held_queues
from celery_fleet.service.state import status_line
from celery_fleet.service.watchdog import LONGEST_SILENCE, Observation, deserves_ping

STUCK = Observation(ready=True, stopping=False, connected=True, silence=LONGEST_SILENCE + 1)


def test_a_stuck_main_loop_gets_none():
    assert not deserves_ping(STUCK)


@pytest.mark.parametrize(
    "excuse",
    [{"ready": False}, {"stopping": True}, {"connected": False}, {"solo_task": True}, {"silence": 2.0}],
)
def test_all_others_get_theirs(excuse):
    assert deserves_ping(replace(STUCK, **excuse))


def test_status_line():
    assert (
        status_line(3, 4, 1204, 2, ["celery", "email"])
        == "3/4 busy, 1204 done, 2 failed, queues: celery,email"
    )


def test_queues_are_held_that_are_consumed_from():
    queues = [SimpleNamespace(name="celery"), SimpleNamespace(name="email")]
    tasks = SimpleNamespace(queues=queues, consuming_from=lambda queue: queue.name == "email")
    assert held_queues(SimpleNamespace(task_consumer=tasks)) == ["email"]
    assert held_queues(SimpleNamespace(task_consumer=None)) == []
    assert held_queues(None) == []


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr("celery_fleet.service.beat.notify", lambda *new: lines.extend(new))
    return lines


@pytest.fixture
def now(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("celery_fleet.service.beat.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def beat_service(last_tick, **made):
    """Beat's service. Its scheduler has no `schedule`: that is in a store of the thread that schedules."""
    app = SimpleNamespace(conf=SimpleNamespace(beat_schedule={"one": 1}))
    return SimpleNamespace(_last_tick=last_tick, app=app, scheduler=SimpleNamespace(max_interval=5, **made))


def test_beat_is_alive_while_it_ticks(told, now):
    service = beat_service(None)
    watch = BeatWatch(service)
    watch.look()
    assert "READY=1" not in told
    service._last_tick = now.now
    watch.look()
    assert told == ["STATUS=1 entries", "WATCHDOG=1", "READY=1", "WATCHDOG=1"]
    now.now += 36
    watch.look()
    assert told.count("WATCHDOG=1") == 2


def test_beat_is_alive_while_it_waits_for_its_first_connection(told, now):
    watch = BeatWatch(beat_service(now.now, connection=object()))
    now.now += 3600
    watch.look()
    assert told == ["STATUS=waiting for the broker", "WATCHDOG=1"]
