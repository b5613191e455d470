"""`fleet queues`"""

import time
from typing import Any

import click

from celery_fleet.delivery.pausing import QUEUE, Pause
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.reading import look_at_queues, look_at_staff

from .exits import OK
from .options import json_option, timeout_option, with_session
from .output import WARNING, Cell, age, print_json, print_table
from .pausing import pause_data, read_pauses
from .session import Session


@click.command()
@json_option
@timeout_option()
@with_session
def queues(session: Session, as_json: bool, timeout: float) -> int:
    """What waits in each queue, and who consumes it.

    WAITING is the sum over all priorities, listed as priority:messages (10 is the highest). PARKED messages
    are due later; UNACKED ones are held by workers. OLDEST: how long ago the next message in line was first due.
    PAUSED is there when a queue is: since when, who paused it, and why.

    \b
    Examples:
      fleet queues
      fleet queues --json | jq '.queues[] | select(.consumers == 0) | .queue'
    """
    backlogs = look_at_queues(session)
    staff = look_at_staff(session, timeout, active=False)
    consumers, now = staff.consumers, time.time()
    paused = {each.name: each for each in read_pauses(session) if each.kind == QUEUE}
    found = [
        as_data(backlog, consumers[backlog.queue], paused.get(backlog.queue), now) for backlog in backlogs
    ]
    if as_json:
        print_json({"queues": found, "consumers_complete": staff.complete})
        return OK
    headings = ["QUEUE", "WAITING", "BY PRIORITY", "OLDEST", "PARKED", "UNACKED", "CONSUMERS"]
    print_table(
        [*headings, *(["PAUSED"] if paused else [])],
        [
            [
                data["queue"],
                data["waiting"],
                " ".join(f"{priority}:{size}" for priority, size in data["by_priority"].items()),
                age(data["oldest_age"]),
                data["parked"],
                data["unacked"],
                Cell("0", WARNING) if not data["consumers"] else data["consumers"],
                *([_told(paused.get(data["queue"]), now)] if paused else []),
            ]
            for data in found
        ],
    )
    if not staff.complete:
        click.echo("Some workers did not answer in time: there may be more consumers.", err=True)
    return OK


def _told(pause: Pause | None, now: float) -> Cell | None:
    if pause is None:
        return None
    why = f": {pause.reason}" if pause.reason else ""
    return Cell(f"{age(now - pause.at)} by {pause.by}{why}", WARNING)


def as_data(backlog: Backlog, consumers: int, paused: Pause | None, now: float) -> dict[str, Any]:
    """The documented fields of a queue."""
    return {
        "queue": backlog.queue,
        "waiting": backlog.waiting,
        "by_priority": {
            str(priority): size for priority, size in sorted(backlog.by_priority.items(), reverse=True)
        },
        "oldest_age": None if backlog.oldest is None else round(max(0.0, now - backlog.oldest), 1),
        "parked": backlog.parked,
        "unacked": backlog.unacked,
        "consumers": consumers,
        "paused": pause_data(paused),
    }
