"""What is told of Beat's entries, without touching its scheduler's store."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.beat import ScheduleEntry as Entry
from celery.beat import event_t
from celery.schedules import crontab, schedule

from celery_fleet.service.beat import BeatReport, readable
from celery_fleet.store.schedules import BeatState
from celery_fleet.store.schedules import ScheduleEntry as Told

APP = Celery("x", set_as_current=False)


def entry(name, runs=0, last=None, every=60):
    return Entry(name, "app.a", last, runs, schedule(every, app=APP), app=APP)


class Scheduler:
    max_interval = 5

    def __init__(self, *entries):
        self.old_schedulers = {each.name: each for each in entries}
        self._heap = [event_t(0, 5, each) for each in entries]

    @property
    def schedule(self):
        raise AssertionError("its store belongs to another thread")


class Schedules:
    def __init__(self, state=None):
        self.states = [state]

    def read(self):
        return self.states[-1]

    def write(self, state):
        self.states.append(state)


def report(scheduler, tick=None):
    service = SimpleNamespace(
        app=APP, scheduler=scheduler, _last_tick=time.monotonic() if tick is None else tick
    )
    return BeatReport(service)


def runs(schedules):
    return {each.name: each.runs for each in schedules.read().entries}


def test_what_is_written_and_when():
    scheduler, schedules = Scheduler(entry("a"), entry("b", 2)), Schedules()
    found, now = report(scheduler), time.monotonic()
    found.look(schedules, now)
    assert runs(schedules) == {"a": 0, "b": 2}
    found.look(schedules, now + 1)
    assert len(schedules.states) == 2, "nothing has changed"
    found.look(schedules, now + 5)
    assert len(schedules.states) == 3, "a sign of life"
    scheduler._heap[0] = event_t(0, 5, next(scheduler.old_schedulers["a"]))
    found.look(schedules, now + 6)
    assert runs(schedules) == {"a": 1, "b": 2}


def test_an_entry_that_is_being_sent_is_not_on_the_heap():
    scheduler, schedules = Scheduler(entry("a"), entry("b")), Schedules()
    scheduler._heap[0] = event_t(0, 5, entry("a", 4))
    found = report(scheduler)
    found.look(schedules, time.monotonic())
    del scheduler._heap[0]
    found.look(schedules, time.monotonic() + 5)
    assert runs(schedules) == {"a": 4, "b": 0}


def test_a_scheduler_that_hangs_gives_no_sign_of_life():
    schedules = Schedules()
    found = report(Scheduler(entry("a")))
    found.look(schedules, time.monotonic() + 36)
    assert schedules.read() is None


def test_what_was_sent_before_a_kill_counts():
    before = Told("a", "app.a", "", None, (), {}, 500.0, None, 9)
    schedules = Schedules(
        BeatState(0, "h", 1, (before, Told("b", "app.other", "", None, (), {}, 500.0, None, 9)))
    )
    scheduler = Scheduler(entry("a", 7, datetime.fromtimestamp(400, UTC)), entry("b"))
    found, now = report(scheduler), time.monotonic()
    found.look(schedules, now)
    first, second = schedules.read().entries
    assert (first.runs, first.last_run) == (9, 500.0)
    assert (second.runs, second.last_run) == (0, None), "another task of the same name"
    scheduler._heap[0] = event_t(0, 5, entry("a", 8, datetime.fromtimestamp(600, UTC)))
    found.look(schedules, now + 1)
    assert (schedules.read().entries[0].runs, schedules.read().entries[0].last_run) == (10, 600.0)


def test_the_next_run():
    schedules = Schedules()
    now = time.time()
    report(Scheduler(entry("a", 1, datetime.fromtimestamp(now - 20, UTC)))).look(schedules, time.monotonic())
    assert schedules.read().entries[0].next_run == pytest.approx(now + 40, abs=1)
    report(Scheduler(entry("a", 1, datetime.fromtimestamp(now - 90, UTC)))).look(schedules, time.monotonic())
    assert schedules.read().entries[0].next_run == pytest.approx(now - 30, abs=1), "it is late"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (schedule(30), "every 30s"),
        (schedule(0.5), "every 0.5s"),
        (schedule(7200), "every 2h"),
        (crontab(minute="*/5", app=APP), "*/5 * * * *"),
        (crontab("1", "2", "3", "4", "5", app=APP), "1 2 4 5 3"),
        (crontab.from_string("1 2 3 4 mon"), "1 2 3 4 mon"),
    ],
)
def test_readable(found, text):
    assert readable(found) == text


def test_a_time_zone_is_told():
    app = Celery("y", set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    assert readable(crontab(minute="0", hour="4", app=app)) == "0 4 * * * Europe/Berlin"
