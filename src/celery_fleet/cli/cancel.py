"""`fleet cancel`"""

from dataclasses import asdict

import click
from celery.states import REVOKED

from celery_fleet.service.cancel import Cancelled
from celery_fleet.service.cancel import cancel as cancel_task

from .exits import OK, PROBLEM
from .options import confirm, json_option, timeout_option, with_session, yes_option
from .output import print_json
from .session import Session
from .stores import audit


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--terminate", is_flag=True, help="End it if it runs, which only prefork and gevent pools can.")
@yes_option
@timeout_option(1.0)
@json_option
@with_session
def cancel(
    session: Session, ids: tuple[str, ...], *, terminate: bool, yes: bool, timeout: float, as_json: bool
) -> int:
    """Cancel tasks for good, whatever restarts: waiting ones, those due later, those that would be retried.

    What runs goes on, unless --terminate, and is not run again. Exit code 1 when one was over already, runs on, or is
    not known.

    \b
    Examples:
      fleet cancel 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
      fleet cancel --terminate --yes 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
    """
    wanted = list(dict.fromkeys(ids))
    if terminate:
        confirm(f"End {', '.join(wanted)} even if it runs?", yes)
    answers = []
    for task_id in wanted:
        answer = cancel_task(session.app, task_id, terminate, timeout)
        outcome = "done" if answer.possible else "refused" if answer.known else "unknown"
        audit(session, "task.cancel", task_id, outcome, terminate=terminate)
        answers.append(answer)
        if not as_json:
            click.echo(f"{task_id}: {told(answer)}", err=not answer.possible)
    if as_json:
        print_json({"cancelled": [asdict(answer) for answer in answers]})
    return OK if all(answer.possible for answer in answers) else PROBLEM


def told(answer: Cancelled) -> str:
    """What became of a cancellation, in a few words."""
    if not answer.mark:
        unknown = "no such task is known: it was never sent, or is long over"
        return f"over already: {answer.state_before}" if answer.known else unknown
    if answer.terminated:
        return f"ended, by {', '.join(answer.terminated)}"
    if answer.state_before == REVOKED:
        return "cancelled already"
    if answer.possible:
        return "taken out of its queue, it will not run" if answer.removed else "cancelled, it will not run"
    if answer.unable:
        kinds = f" ({', '.join(answer.unable_kinds)})" if answer.unable_kinds else ""
        return f"runs on: the pool of {', '.join(answer.unable)}{kinds} cannot end it; it is not run again"
    return "runs on, and is not run again; --terminate ends it"
