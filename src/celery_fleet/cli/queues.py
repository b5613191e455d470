"""`fleet queues`"""

import time
from typing import Any

import click

from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.reading import look_at_queues, look_at_staff

from .exits import OK
from .options import json_option, timeout_option, with_session
from .output import WARNING, Cell, age, print_json, print_table
from .session import Session


@click.command()
@json_option
@timeout_option()
@with_session
def queues(session: Session, as_json: bool, timeout: float) -> int:
    """What waits in each queue, and who consumes it.

    WAITING is the sum over all priorities, listed as priority:messages (10 is the highest). PARKED messages
    are due later; UNACKED ones are held by workers. OLDEST: how long ago the next message in line was first due.

    \b
    Examples:
      fleet queues
      fleet queues --json | jq '.queues[] | select(.consumers == 0) | .queue'
    """
    backlogs = look_at_queues(session)
    staff = look_at_staff(session, timeout, active=False)
    consumers, now = staff.consumers, time.time()
    found = [as_data(backlog, consumers[backlog.queue], now) for backlog in backlogs]
    if as_json:
        print_json({"queues": found, "consumers_complete": staff.complete})
        return OK
    print_table(
        ["QUEUE", "WAITING", "BY PRIORITY", "OLDEST", "PARKED", "UNACKED", "CONSUMERS"],
        [
            [
                data["queue"],
                data["waiting"],
                " ".join(f"{priority}:{size}" for priority, size in data["by_priority"].items()),
                age(data["oldest_age"]),
                data["parked"],
                data["unacked"],
                Cell("0", WARNING) if not data["consumers"] else data["consumers"],
            ]
            for data in found
        ],
    )
    if not staff.complete:
        click.echo("Some workers did not answer in time: there may be more consumers.", err=True)
    return OK


def as_data(backlog: Backlog, consumers: int, now: float) -> dict[str, Any]:
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
    }
