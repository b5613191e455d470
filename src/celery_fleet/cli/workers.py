"""`fleet workers` and `fleet pools`"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from celery_fleet.delivery.pausing import Pause
from celery_fleet.survey.reading import look_at_staff
from celery_fleet.survey.roster import ALIVE, MISSING, SILENT, Worker

from .exits import OK, PROBLEM
from .options import json_option, timeout_option, with_session
from .output import BAD, GOOD, WARNING, Cell, age, print_json, print_table
from .pausing import draining, pause_data, read_pauses
from .session import Session

COLOURS = {ALIVE: GOOD, SILENT: WARNING, **dict.fromkeys(MISSING, BAD)}


@click.command()
@json_option
@timeout_option()
@with_session
def workers(session: Session, as_json: bool, timeout: float) -> int:
    """Each worker that is known: it holds a lease, it answers, it died, or it is a pool of this host.

    SEEN is the time since its last sign of life in Redis, UP since it started. States: alive; silent (its lease
    is fresh, and it did not answer in time: busy solo pools do not); dead (no sign of life for 10 s); gone (it
    died, its work was given to others, and it is not back); stopped (a pool of this host that does not run).
    One that is drained takes no tasks. Exit code 1 when one is dead, gone or stopped.

    \b
    Examples:
      fleet workers
      fleet workers --json | jq -r '.workers[] | select(.state == "dead") | .node'
    """
    staff, paused = look_at_staff(session, timeout).workers, read_pauses(session)
    if as_json:
        print_json({"workers": [worker_data(worker, paused) for worker in staff]})
    else:
        print_table(
            ["NODE", "STATE", "HOST", "PID", "SEEN", "UP", "KIND", "SLOTS", "BUSY", "DONE", "QUEUES"],
            [_row(worker, draining(paused, worker.node)) for worker in staff],
            empty="no workers are known",
            optional=("HOST", "UP", "PID"),
        )
    return _code(staff)


@click.command()
@json_option
@timeout_option()
@with_session
def pools(session: Session, as_json: bool, timeout: float) -> int:
    """The pools: the workers of one name on all hosts together.

    Exit code 1 when a worker of a pool is dead, gone or stopped.

    \b
    Examples:
      fleet pools
      fleet pools --json | jq '.pools[] | {pool, busy, concurrency}'
    """
    staff, paused = look_at_staff(session, timeout).workers, read_pauses(session)
    found = [pool_data(name, staff, paused) for name in dict.fromkeys(worker.pool for worker in staff)]
    if as_json:
        print_json({"pools": found})
    else:
        print_table(
            ["POOL", "ALIVE", "HOSTS", "KIND", "SLOTS", "BUSY", "DONE", "QUEUES"],
            [
                [
                    pool["pool"],
                    Cell(f"{pool['alive']}/{pool['known']}", GOOD if pool["alive"] == pool["known"] else BAD),
                    ",".join(pool["hosts"]),
                    pool["kind"],
                    pool["concurrency"],
                    pool["busy"],
                    pool["done"],
                    ",".join(pool["queues"]) or None,
                ]
                for pool in found
            ],
            empty="no pools are known",
        )
    return _code(staff)


def worker_data(worker: Worker, paused: Sequence[Pause] = ()) -> dict[str, Any]:
    """The documented fields of a worker."""
    return {
        **asdict(worker),
        "pool": worker.pool,
        "age": None if worker.age is None else round(worker.age, 1),
        "draining": pause_data(draining(paused, worker.node)),
    }


def pool_data(name: str, staff: Sequence[Worker], paused: Sequence[Pause] = ()) -> dict[str, Any]:
    """The documented fields of a pool; sums are over the workers that answered."""
    members = [worker for worker in staff if worker.pool == name]

    def total(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return {
        "pool": name,
        "known": len(members),
        "alive": sum(worker.state in (ALIVE, SILENT) for worker in members),
        "hosts": list(dict.fromkeys(worker.host for worker in members)),
        "kind": "/".join(dict.fromkeys(worker.kind for worker in members if worker.kind)) or None,
        "concurrency": total([worker.concurrency for worker in members]),
        "busy": total([worker.busy for worker in members]),
        "done": total([worker.done for worker in members]),
        "queues": list(dict.fromkeys(queue for worker in members for queue in worker.queues)),
        "draining": sum(draining(paused, worker.node) is not None for worker in members),
    }


def _row(worker: Worker, drained: Pause | None) -> list[Any]:
    return [
        worker.node,
        Cell(f"{worker.state}, drained", WARNING) if drained else Cell(worker.state, COLOURS[worker.state]),
        worker.host,
        worker.pid,
        age(worker.age),
        age(worker.uptime),
        worker.kind,
        worker.concurrency,
        worker.busy,
        worker.done,
        ",".join(worker.queues) or None,
    ]


def _code(staff: Sequence[Worker]) -> int:
    return PROBLEM if any(worker.state in MISSING for worker in staff) else OK
