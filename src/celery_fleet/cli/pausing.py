"""`fleet pause`, `fleet resume`, `fleet drain` and `fleet undrain`"""

from collections.abc import Sequence
from typing import Any

import click

from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.pausing import QUEUE, STOCK, WORKER, Pause, pauses
from celery_fleet.delivery.pausing import pause as pause_for
from celery_fleet.delivery.pausing import resume as resume_for
from celery_fleet.survey.reading import read_leases

from .exits import OK, Problem
from .options import complete_queue, json_option, with_session
from .output import print_json
from .session import Session
from .stores import actor, audit

_reason = click.option(
    "--reason", default="", metavar="TEXT", help="Shown to whoever looks, and kept in the audit."
)


@click.command()
@click.argument("queue", shell_complete=complete_queue)
@_reason
@json_option
@with_session
def pause(session: Session, queue: str, *, reason: str, as_json: bool) -> int:
    """Pause a queue: no worker takes from it, until `fleet resume`. What is sent to it waits.

    It survives restarts of workers and of Redis. Tasks that workers have taken before run to their end.

    \b
    Examples:
      fleet pause reports --reason "the database moves"
    """
    _check_queue(session, queue)
    changed = _pause(session, QUEUE, queue, reason)
    return _told(QUEUE, queue, changed, "paused" if changed else "paused already", as_json)


@click.command()
@click.argument("queue", shell_complete=complete_queue)
@json_option
@with_session
def resume(session: Session, queue: str, *, as_json: bool) -> int:
    """Resume a queue that was paused: its workers go on at once.

    \b
    Examples:
      fleet resume reports
    """
    if not any(each.kind == QUEUE and each.name == queue for each in read_pauses(session)):
        _check_queue(session, queue)
    changed = _resume(session, QUEUE, queue, [queue])
    return _told(QUEUE, queue, changed, "goes on" if changed else "was not paused", as_json)


@click.command()
@click.argument("worker", metavar="WORKER|POOL")
@_reason
@json_option
@with_session
def drain(session: Session, worker: str, *, reason: str, as_json: bool) -> int:
    """Drain a worker, or a pool on all its hosts: it ends what it has taken and takes nothing more.

    It survives restarts, until `fleet undrain`. Others go on with the same queues.

    \b
    Examples:
      fleet drain default@worker3 --reason "a new disk"
      fleet drain reports
    """
    _check_worker(session, worker)
    changed = _pause(session, WORKER, worker, reason)
    said = "takes nothing more, and ends what it has taken" if changed else "drained already"
    return _told(WORKER, worker, changed, said, as_json)


@click.command()
@click.argument("worker", metavar="WORKER|POOL")
@json_option
@with_session
def undrain(session: Session, worker: str, *, as_json: bool) -> int:
    """Have a drained worker, or pool, take tasks again.

    \b
    Examples:
      fleet undrain default@worker3
    """
    found = read_pauses(session)
    if not any(each.kind == WORKER and each.name == worker for each in found):
        other = next((each for each in found if each.holds(worker)), None)
        if other:
            raise Problem(f"{worker} is drained with its pool: `fleet undrain {other.name}`")
        _check_worker(session, worker)
    changed = _resume(session, WORKER, worker, list(session.topology.queues))
    return _told(WORKER, worker, changed, "takes tasks again" if changed else "was not drained", as_json)


def read_pauses(session: Session) -> list[Pause]:
    return pauses(session.broker, Keys(session.prefix))


def pause_data(found: Pause | None) -> dict[str, Any] | None:
    """The documented fields of a pause."""
    return {"by": found.by, "at": found.at, "reason": found.reason} if found else None


def draining(found: Sequence[Pause], node: str) -> Pause | None:
    """What drains the worker of this node, if anything does."""
    return next((each for each in found if each.holds(node)), None)


def _pause(session: Session, kind: str, name: str, reason: str) -> bool:
    _check_delivery(session)
    changed = pause_for(session.broker, kind, name, actor(), reason, Keys(session.prefix))
    if changed:
        audit(session, _ACTIONS[kind][0], name, reason=reason)
    return changed


def _resume(session: Session, kind: str, name: str, queues: Sequence[str]) -> bool:
    _check_delivery(session)
    changed = resume_for(session.broker, kind, name, queues, Keys(session.prefix))
    if changed:
        audit(session, _ACTIONS[kind][1], name)
    return changed


_ACTIONS = {QUEUE: ("queue.pause", "queue.resume"), WORKER: ("worker.drain", "worker.undrain")}


def _check_delivery(session: Session) -> None:
    if session.topology.delivery != "atomic":
        raise Problem(STOCK)


def _check_queue(session: Session, queue: str) -> None:
    if queue not in session.topology.queues:
        raise Problem(f"there is no queue {queue}; `fleet queues` shows the names")


def _check_worker(session: Session, worker: str) -> None:
    nodes = [lease.node for lease in read_leases(session)]
    if worker not in (*nodes, *(node.partition("@")[0] for node in nodes)):
        raise Problem(f"no worker or pool {worker} is known; `fleet workers` shows the names")


def _told(kind: str, name: str, changed: bool, text: str, as_json: bool) -> int:
    if as_json:
        print_json({kind: name, "changed": changed})
    else:
        click.echo(f"{name}: {text}")
    return OK
