"""`fleet tasks`"""

from dataclasses import asdict
from typing import Any

import click
from celery.exceptions import CeleryError

from celery_fleet.delivery.keys import Keys
from celery_fleet.policy.priority import fleet_priority
from celery_fleet.store.index import STATES, TaskPage, TaskRecord
from celery_fleet.survey.where import Place, find

from .exits import OK, Problem, one_line
from .group import DefaultGroup
from .options import complete_queue, json_option, past, with_session
from .output import BAD, GOOD, WARNING, Cell, age, ago, compact, moment, print_facts, print_json, print_table
from .session import Session
from .stores import dead_letters, task_index

COLOURS = {"SUCCESS": GOOD, "FAILURE": BAD, "REJECTED": BAD, "RETRY": WARNING, "REVOKED": WARNING}


@click.group(cls=DefaultGroup, default="list")
def tasks() -> None:
    """Find tasks in the index, and see one in full. Without a further word: `list`.

    \b
    Examples:
      fleet tasks --state failure --since 1h
      fleet tasks --text invoice-4711
      fleet tasks show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
    """


@tasks.command("list")
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="In this state.")
@click.option("--name", default="", metavar="NAME", help="Of this name.")
@click.option("--queue", default="", metavar="QUEUE", shell_complete=complete_queue, help="Of this queue.")
@click.option("--worker", default="", metavar="NODE", help="Run by this worker.")
@click.option("--text", default="", help="With this text in id, name, arguments or error.")
@click.option("--since", type=past, metavar="TIME", help="Seen since: 15m, 2h, 1d, or an ISO time.")
@click.option("--until", type=past, metavar="TIME", help="Seen until.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--cursor", default="", help="Go on where an earlier answer ended.")
@json_option
@with_session
def list_(
    session: Session,
    *,
    state: str | None,
    name: str,
    queue: str,
    worker: str,
    text: str,
    since: float | None,
    until: float | None,
    limit: int,
    cursor: str,
    as_json: bool,
) -> int:
    """List tasks that workers have seen, newest first. What only waits in a queue is not among them.

    \b
    Examples:
      fleet tasks --limit 20
      fleet tasks --state failure --queue email --since 1d
      fleet tasks --json | jq -r '.tasks[].task_id'
    """
    page = _search(
        session, cursor, limit, state=state or "", name=name, queue=queue, worker=worker, text=text,
        since=since, until=until,
    )  # fmt: skip
    if as_json:
        print_json({"tasks": [task_data(record) for record in page.records], "cursor": page.cursor or None})
        return OK
    print_table(
        ["ID", "STATE", "AGO", "NAME", "QUEUE", "WORKER", "TOOK", "TRIES", "ARGUMENTS"],
        [
            [
                record.task_id,
                Cell(record.state, COLOURS.get(record.state)),
                age(ago(record.at)),
                record.name or None,
                record.queue or None,
                record.worker or None,
                None if record.runtime is None else f"{record.runtime:.2f}s",
                record.retries + 1,
                " ".join(filter(None, (record.args, record.kwargs if record.kwargs != "{}" else ""))) or None,
            ]
            for record in page.records
        ],
        empty="no tasks match",
        whole=("ID",),
        optional=("TRIES", "TOOK", "WORKER", "QUEUE"),
    )
    if page.cursor:
        click.echo(f"There may be more: --cursor {page.cursor}", err=True)
    return OK


@tasks.command()
@click.argument("task_id", metavar="ID")
@json_option
@with_session
def show(session: Session, task_id: str, as_json: bool) -> int:
    """All that is known of a task: what workers did with it, its result, and where its message is now.

    Exit code 1 when nothing is known of it.

    \b
    Examples:
      fleet tasks show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
      fleet tasks show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55 --json | jq .result
    """
    record = task_index(session).get(task_id)
    result = read_result(session, task_id)
    places = find(session.broker, task_id, list(session.topology.queues), Keys(session.prefix))
    letter = dead_letters(session).get(task_id)
    if not (record or result or places or letter):
        raise Problem(f"nothing is known of the task {task_id}: it is forgotten, or never was")
    if as_json:
        print_json(
            {
                "task_id": task_id,
                "record": task_data(record) if record else None,
                "result": result,
                "messages": [asdict(place) for place in places],
                "dead_letter": letter.reason if letter else None,
            }
        )
        return OK
    print_facts(
        [
            ("id", task_id),
            *(_facts(record) if record else [("workers", "none has seen it yet, or it is forgotten")]),
            *[("message", _place(place)) for place in places],
            *([("message", "none in the broker")] if not places else []),
            ("result", None if result is None else f"{result['state']} {compact(result['result'])}"),
            ("traceback", result["traceback"] if result else None),
            ("dead letter", f"{letter.reason}, see `fleet dlq show {task_id}`" if letter else None),
        ]
    )
    return OK


def task_data(record: TaskRecord) -> dict[str, Any]:
    """The documented fields of a task."""
    return {
        **asdict(record),
        "priority": None if record.priority is None else fleet_priority(record.priority),
    }


def read_result(session: Session, task_id: str) -> dict[str, Any] | None:
    """What the result backend has; None: nothing."""
    backend = session.app.backend
    try:
        meta = backend.get_task_meta(task_id)
    except (CeleryError, NotImplementedError, KeyError, ValueError) as error:
        return {"state": "unreadable", "result": one_line(error), "traceback": None}
    if meta.get("status") in (None, "PENDING"):
        return None
    value = meta.get("result")
    if isinstance(value, BaseException):
        value = f"{type(value).__name__}: {value}"
    return {"state": meta["status"], "result": value, "traceback": meta.get("traceback")}


def _search(session: Session, cursor: str, limit: int, **filters: Any) -> TaskPage:
    """A page, as full as the index can make it."""
    index = task_index(session)
    found: list[TaskRecord] = []
    while True:
        try:
            page = index.search(**filters, cursor=cursor, limit=limit - len(found))
        except ValueError as error:
            raise click.BadParameter(
                f"{cursor!r} is not a cursor of an earlier answer.", param_hint="--cursor"
            ) from error
        found += page.records
        cursor = page.cursor
        if not cursor or len(found) >= limit:
            return TaskPage(tuple(found), cursor)


def _facts(record: TaskRecord) -> list[tuple[str, Any]]:
    return [
        ("task", record.name or None),
        ("state", Cell(record.state, COLOURS.get(record.state))),
        ("queue", record.queue or None),
        ("priority", None if record.priority is None else fleet_priority(record.priority)),
        ("worker", record.worker or None),
        ("arguments", record.args or None),
        ("named arguments", record.kwargs or None),
        ("received", None if record.received is None else moment(record.received)),
        ("started", None if record.started is None else moment(record.started)),
        ("ended", None if record.ended is None else moment(record.ended)),
        ("took", None if record.runtime is None else f"{record.runtime:.3f} s"),
        ("due", None if record.eta is None else moment(record.eta)),
        ("tries", record.retries + 1),
        ("processes lost", record.losses or None),
        ("error", record.error or None),
        ("root", record.root_id or None),
        ("parent", record.parent_id or None),
        ("trace", record.trace_id or None),
        ("retries letter", record.origin or None),
    ]


def _place(place: Place) -> str:
    if place.place == "waiting":
        return f"waits in {place.queue}, priority {place.priority}, number {place.position} in its line"
    if place.place == "held":
        return f"held by {place.node or 'a worker on the stock transport'}, from {place.queue}"
    return f"due at {moment(place.due)}, then in {place.queue}"
