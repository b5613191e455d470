"""`fleet submit`"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from celery import Celery
from celery.states import READY_STATES, SUCCESS

from celery_fleet.store.connection import broker_client
from celery_fleet.topology.hints import did_you_mean

from .exits import OK, PROBLEM, Problem, one_line
from .options import complete_queue, json_option, json_value, with_session
from .output import compact, print_json
from .session import Session
from .stores import audit

_POLL = 0.1


@click.command()
@click.argument("task")
@click.argument("args", type=json_value(list, '[1, "two"]'), required=False, metavar="[ARGS-JSON]")
@click.option(
    "--kwargs", metavar="JSON", type=json_value(dict, '{"name": 1}'), help="Named arguments, a JSON object."
)
@click.option("--queue", shell_complete=complete_queue, help="Another queue than the topology says.")
@click.option("--priority", type=click.IntRange(1, 10), help="1 (lowest) to 10.")
@click.option(
    "--countdown", type=click.FloatRange(min=0), metavar="SECONDS", help="Not before so many seconds."
)
@click.option(
    "--eta",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"]),
    help="Not before this time; without a zone it is UTC.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    is_flag=False,
    flag_value=60.0,
    help="Wait for the result, 60 s unless it says; exit code 1 when the task fails.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Send a task that the app does not register, or to a queue that the topology does not know.",
)
@json_option
@with_session
def submit(
    session: Session,
    *,
    task: str,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    queue: str | None,
    priority: int | None,
    countdown: float | None,
    eta: datetime | None,
    wait: float | None,
    force: bool,
    as_json: bool,
) -> int:
    """Send TASK with the arguments of a JSON list. It goes where the topology says unless you do.

    \b
    Examples:
      fleet submit app.mail.send '["a@example.org"]' --kwargs '{"subject": "Hi"}'
      fleet submit app.reports.monthly --priority 9 --wait 120
      fleet submit app.cleanup.run --countdown 600
    """
    if countdown is not None and eta is not None:
        raise click.UsageError("--countdown and --eta exclude each other.")
    app = session.user_app
    broker_client(app).ping()  # its errors are clearer than those of publishing
    check_name(task, list(app.tasks), force)
    if queue and queue not in session.topology.queues and not force:
        hint = did_you_mean(queue, session.topology.queues)
        raise Problem(f"there is no queue {queue!r}: nobody would consume it; {hint}")
    options: dict[str, Any] = {
        "queue": queue,
        "priority": None if priority is None else session.as_app_counts(priority),
        "countdown": countdown,
        "eta": eta if eta is None or eta.tzinfo else eta.replace(tzinfo=UTC),
    }
    options = {name: value for name, value in options.items() if value is not None}
    task_id = _send(app, task, args or [], kwargs or {}, options)
    audit(session, "task.submit", task_id, task=task)
    return _answer(app, task_id, task, wait, as_json)


def check_name(task: str, registered: Sequence[str], force: bool) -> None:
    """Raises Problem for a task that no worker of this release would know."""
    own = sorted(name for name in registered if not name.startswith("celery."))
    if task in registered or force:
        return
    raise Problem(
        f"the app registers no task {task!r}: {did_you_mean(task, own)} --force sends it all the same."
    )


def _send(
    app: Celery, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    try:
        if task in app.tasks:
            return str(app.tasks[task].apply_async(args, kwargs, **options).id)
    except TypeError as error:  # the task's own signature
        raise click.UsageError(f"the arguments do not fit {task}: {one_line(error)}.") from error
    return str(app.send_task(task, args, kwargs, **options).id)


def _answer(app: Celery, task_id: str, task: str, wait: float | None, as_json: bool) -> int:
    said: dict[str, Any] = {"id": task_id, "task": task, "state": "SENT"}
    if wait is not None:
        said |= _outcome(app, task_id, wait)
    if as_json:
        print_json(said)
    elif wait is None:
        click.echo(task_id)
    else:
        click.echo(
            f"{task_id}  {said['state']}  {'' if said['result'] is None else compact(said['result'])}".rstrip()
        )
    return OK if wait is None or said["state"] == SUCCESS else PROBLEM


def _outcome(app: Celery, task_id: str, wait: float) -> dict[str, Any]:
    """State and result, or error, of a task that ends in time; else the state it is in."""
    end = time.monotonic() + wait
    while True:
        # Asked for, not subscribed to: a subscription would outlive the wait.
        meta = app.backend.get_task_meta(task_id)
        state = str(meta["status"])
        if state in READY_STATES:
            value = meta["result"]
            failed = isinstance(value, BaseException)
            return {"state": state, "result": f"{type(value).__name__}: {value}" if failed else value}
        if time.monotonic() > end:
            return {"state": state, "result": None}
        time.sleep(_POLL)
