"""Beat's schedule from the topology."""

from typing import Any

from celery.schedules import crontab

from celery_fleet.topology.model import BeatEntry, Topology


def beat_schedule(topology: Topology) -> dict[str, dict[str, Any]]:
    """The entries of `beat_schedule`: schedules in seconds, or cron expressions in the app's time zone."""
    return {name: _entry(entry) for name, entry in topology.beat.items()}


def _entry(entry: BeatEntry) -> dict[str, Any]:
    cron = isinstance(entry.schedule, str)
    return {
        "task": entry.task,
        "schedule": crontab.from_string(" ".join(str(entry.schedule).split()))
        if cron
        else float(entry.schedule),
        "args": entry.args,
        "kwargs": dict(entry.kwargs),
        "options": {"queue": entry.queue} if entry.queue else {},
    }
