"""Cancelling a task, and telling the truth about what came of it."""

import redis
from kombu.exceptions import OperationalError

from celery_fleet.console.auth import Actor
from celery_fleet.console.errors import Conflict, NotFound, Problem
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.common import now
from celery_fleet.console.models.tasks import Cancelled
from celery_fleet.service.cancel import Cancelled as Outcome
from celery_fleet.service.cancel import cancel as cancel_task

from .records import word

ANSWER_TIME = 1.5
"""Seconds that workers have for an answer."""

_OVER = {
    "SUCCESS": "Task has already completed successfully and cannot be cancelled",
    "FAILURE": "Task has already failed and cannot be cancelled",
}


def cancel(fleet: Fleet, actor: Actor, task_id: str, terminate: bool = True) -> Cancelled:
    """Cancels it for good; `terminate`: also when it runs.

    Raises NotFound; Problem 400 when it is over; Conflict when it runs on, though it will not run again;
    redis.RedisError and kombu's OperationalError: it may be cancelled or not.
    """
    outcome = _attempt(fleet, task_id, terminate)
    if not outcome.known:
        raise NotFound(
            f"nothing is known of the task {task_id}: it is forgotten, or never was", code="unknown_task"
        )
    done = "done" if outcome.possible else "refused"
    fleet.audit.add(actor.name, "task.cancel", task_id, done, {"terminate": terminate})
    before = outcome.state_before
    if before in _OVER or (not outcome.mark and before != "REVOKED"):
        detail = _OVER.get(before, "Task has already ended and cannot be cancelled")
        raise Problem(detail, code="already_ended", extra={"state": word(before)})
    if not outcome.possible:
        raise Conflict(
            why_not(outcome, terminate), code="runs_on", extra={"previous_state": previous(before)}
        )
    return Cancelled(
        task_id=task_id, message=message(outcome), previous_state=previous(before), cancelled_at=now()
    )


def _attempt(fleet: Fleet, task_id: str, terminate: bool) -> Outcome:
    try:
        return cancel_task(fleet.app, task_id, terminate, ANSWER_TIME)
    except (redis.ConnectionError, OperationalError):
        # A connection that Redis has closed since its last use. All of it may be done twice.
        return cancel_task(fleet.app, task_id, terminate, ANSWER_TIME)


def previous(state: str) -> str:
    """>>> previous("STARTED"), previous("RECEIVED"), previous("RETRY"), previous("REVOKED")
    ('processing', 'pending', 'retry', 'cancelled')
    """
    return "pending" if state == "RECEIVED" else word(state)


def message(outcome: Outcome) -> str:
    """What became of a cancellation that was possible."""
    before = outcome.state_before
    if before == "REVOKED":
        return "Task was already cancelled"
    if outcome.terminated or before == "STARTED":
        return "Task was running and has been terminated"
    if before == "RETRY":
        return "Task was waiting to be tried again and will not run again"
    if outcome.removed:
        return "Task was waiting and has been removed from its queue"
    return "Task was waiting and will not run"


def why_not(outcome: Outcome, terminate: bool) -> str:
    """Why a task runs on."""
    if outcome.unable:
        workers = ", ".join(outcome.unable)
        return f"Task is running on {workers}, whose kind of pool cannot end a task: it runs on, and will not run again"
    if not terminate:
        return "Task is running and was not to be terminated: it runs on, and will not run again"
    return (
        "Task is running and its worker has not answered: it is ended when the worker answers again, and will not run "
        "again"
    )
