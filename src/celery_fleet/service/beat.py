"""Tells systemd that Beat schedules, and the fleet what it sent and will send."""

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import redis
from celery.schedules import crontab, schedule

from celery_fleet.store.connection import key_prefix, own_state_client
from celery_fleet.store.schedules import BeatState, ScheduleEntry, Schedules
from celery_fleet.topology.units import human_duration

from .notify import READY, WATCHDOG, notify, status, watchdog_interval

log = logging.getLogger(__name__)

_PERIOD, _STARTING_PERIOD = 2.0, 0.1
_LOOK, _RENEW = 1.0, 5.0
_COMPLAINT_PERIOD = 60.0
_SLACK = 30.0
"""Seconds that a tick may take beyond the longest sleep between ticks."""


def watch_beat(sender: Any, **_: object) -> None:
    """Receiver of `beat_init`, whose sender is Beat's service."""
    threading.Thread(target=BeatWatch(sender).run, name="fleet-readiness", daemon=True).start()
    # On its own: systemd is not to wait for Redis.
    threading.Thread(target=BeatReport(sender).run, name="fleet-schedule", daemon=True).start()


class BeatWatch:
    """Watches one `celery.beat.Service` from a thread: ready and alive is who has ticked of late."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.ready = False
        self._told = ""
        self._begun = time.monotonic()
        interval = watchdog_interval()
        self._period = min(_PERIOD, interval / 4) if interval else _PERIOD

    def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("Beat could not be judged, so systemd is told nothing")
            time.sleep(self._period if self.ready else _STARTING_PERIOD)

    def look(self) -> None:
        """One round: judge, and tell systemd."""
        lines = []
        connecting = self._connecting()
        if not self.ready and self.service._last_tick is not None and not connecting:
            self.ready = True
            lines.append(READY)
        # The scheduler's own store belongs to its thread: SQLite refuses it to others.
        entries = len(self.service.app.conf.beat_schedule)
        text = "waiting for the broker" if connecting else f"{entries} entries"
        if text != self._told:
            self._told = text
            lines.append(status(text))
        if connecting or self._silence() < self.service.scheduler.max_interval + _SLACK:
            lines.append(WATCHDOG)
        if lines:
            notify(*lines)

    def _silence(self) -> float:
        last = self.service._last_tick
        return time.monotonic() - (self._begun if last is None else last)

    def _connecting(self) -> bool:
        """Whether the scheduler waits for its first connection, which it does for ever."""
        made = vars(self.service.scheduler)
        return "connection" in made and "producer" not in made


class BeatReport:
    """Writes what the scheduler has sent and will send: when it changes, and every few seconds as a sign of life.

    The scheduler's own store belongs to its thread, so its entries are taken from the heap that it works with.
    """

    def __init__(self, service: Any) -> None:
        self.service = service
        self._known: dict[str, Any] = {}
        self._loaded: dict[str, int] = {}
        """How often each entry had been sent when this process began, as its scheduler knows it."""
        self._before: Mapping[str, ScheduleEntry] | None = None
        """What was written before this process began: a Beat that is killed has not saved its last runs."""
        self._told: list[tuple[str, int]] | None = None
        self._written = self._complained = float("-inf")

    def run(self) -> None:
        app = self.service.app
        schedules = Schedules(own_state_client(app), key_prefix(app))
        while True:
            try:
                self.look(schedules, time.monotonic())
            except Exception as error:  # any: the thread goes on
                self._complain(error)
            time.sleep(_LOOK)

    def look(self, schedules: Schedules, now: float) -> None:
        """One round. Raises redis.RedisError."""
        last, longest = self.service._last_tick, self.service.scheduler.max_interval + _SLACK
        if last is None or now - last > longest:
            return
        if self._before is None:
            state = schedules.read()
            self._before = {entry.name: entry for entry in state.entries} if state else {}
        entries = [self._entry(entry) for entry in self.entries()]
        told = [(entry.name, entry.runs) for entry in entries]
        if told != self._told or now - self._written >= _RENEW:
            schedules.write(BeatState(time.time(), socket.gethostname(), os.getpid(), tuple(entries)))
            self._told, self._written = told, now

    def entries(self) -> list[Any]:
        """The scheduler's entries, by name. While one is being sent it is not on the heap: then as it was before."""
        scheduler = self.service.scheduler
        started = dict(scheduler.old_schedulers or {})
        on_heap = {event.entry.name: event.entry for event in list(scheduler._heap or ())}
        for name, entry in started.items():
            self._loaded.setdefault(name, entry.total_run_count)
        self._known = {
            name: on_heap.get(name) or self._known.get(name, started[name]) for name in sorted(started)
        }
        return list(self._known.values())

    def _entry(self, entry: Any) -> ScheduleEntry:
        runs, last = entry.total_run_count, _timestamp(entry.last_run_at)
        before = (self._before or {}).get(entry.name)
        if before and before.task == entry.task:
            last = max(last if runs else 0.0, before.last_run or 0.0)
            runs += max(0, before.runs - self._loaded[entry.name])
        queue = entry.options.get("queue")
        return ScheduleEntry(
            name=entry.name,
            task=entry.task,
            schedule=readable(entry.schedule),
            queue=str(getattr(queue, "name", queue)) if queue else None,
            args=tuple(entry.args or ()),
            kwargs=dict(entry.kwargs or {}),
            last_run=last if runs else None,  # an entry that was never sent has the time when it was made
            next_run=_next_run(entry),
            runs=runs,
        )

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained > _COMPLAINT_PERIOD:
            self._complained = time.monotonic()
            log.warning(
                "Beat cannot say what it sends: %s: %s",
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, redis.RedisError) else error,
            )


def _next_run(entry: Any) -> float | None:
    """When it is due; in the past, when it is late."""
    try:
        remaining: timedelta = entry.schedule.remaining_estimate(entry.last_run_at)
    except Exception:  # any: a schedule is anybody's code
        return None
    return round(time.time() + remaining.total_seconds(), 2)


def _timestamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def readable(found: Any) -> str:
    """A schedule for people; a cron expression stays one, with its time zone if that is not UTC.

    >>> readable(schedule(300)), readable(crontab(minute="0", hour="4"))
    ('every 5m', '0 4 * * *')
    """
    if isinstance(found, crontab):
        zone = str(found.tz)
        return f"{_expression(found)}{'' if zone in ('UTC', 'Etc/UTC') else f' {zone}'}"
    if isinstance(found, schedule):
        seconds = found.seconds
        return f"every {human_duration(int(seconds)) if seconds == int(seconds) else f'{seconds:g}s'}"
    return str(found)


def _expression(found: crontab) -> str:
    """The five fields, in the order of a crontab."""
    return " ".join(
        str(each)
        for each in (
            found._orig_minute,
            found._orig_hour,
            found._orig_day_of_month,
            found._orig_month_of_year,
            found._orig_day_of_week,
        )
    )
