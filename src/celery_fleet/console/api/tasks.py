"""`/api/v1/tasks`, also as `/tasks`."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from celery_fleet.console.auth import Operator, Viewer
from celery_fleet.console.errors import may_answer
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.models.common import ErrorBody
from celery_fleet.console.models.tasks import (
    Cancelled,
    Submission,
    Submitted,
    TaskDetail,
    TaskList,
    TaskQuery,
    TaskTypes,
)
from celery_fleet.console.tasks import cancel as cancelling
from celery_fleet.console.tasks import search as searching
from celery_fleet.console.tasks import submit as submitting
from celery_fleet.console.tasks import task as looking
from celery_fleet.console.tasks import types

from .aliases import with_alias

router = APIRouter(tags=["tasks"])

REPLAYED = "Idempotent-Replayed"
IdempotencyKey = Annotated[
    str,
    Header(
        description="Any text of your own: the same request with the same key is done once, however often it is sent "
        "within 24 hours."
    ),
]

_UNKNOWN = may_answer(404, "Nobody knows the task.")
_EXAMPLES: dict[str, Any] = {
    "by type": {"value": {"type": "process", "data": "test", "priority": "high"}},
    "by name": {
        "value": {"type": "taskapp.reports.monthly", "kwargs": {"month": "2025-01"}, "queue": "reports"}
    },
    "later": {"value": {"type": "cleanup", "countdown": 600}},
}


def submit_task(
    fleet: FleetOf,
    actor: Operator,
    submission: Submission,
    response: Response,
    idempotency_key: IdempotencyKey = "",
) -> Submitted:
    """Puts a task into its queue, after looking whether a worker knows it and whether its arguments fit."""
    answer = submitting.submit(fleet, actor, submission, idempotency_key)
    if answer.replayed:
        response.headers[REPLAYED] = "true"
    response.headers["Location"] = answer.links.task
    return answer


def list_tasks(fleet: FleetOf, _: Viewer, query: Annotated[TaskQuery, Query()]) -> TaskList:
    """The tasks that fit all that is asked for, newest first."""
    return searching.search(fleet, query)


def list_types(fleet: FleetOf, _: Viewer) -> TaskTypes:
    """The tasks that can be submitted, with their parameters as workers tell them."""
    return types.task_types(fleet)


def get_task(fleet: FleetOf, _: Viewer, task_id: str) -> TaskDetail:
    """What became of a task: `status`, `result` and `error`, and all that is known besides."""
    return looking.look_up(fleet, task_id)


def cancel_task(fleet: FleetOf, actor: Operator, task_id: str, terminate: bool = True) -> Cancelled:
    """Keeps a task from running, whatever restarts; ends it if it runs, unless `terminate=false`."""
    return cancelling.cancel(fleet, actor, task_id, terminate)


_cancel_errors: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    400: {
        "model": ErrorBody,
        "description": "The task is over.",
        "content": {
            "application/json": {
                "example": {
                    "detail": "Task has already completed successfully and cannot be cancelled",
                    "code": "already_ended",
                    "request_id": "7b1c9f0e",
                    "state": "completed",
                }
            }
        },
    },
    **may_answer(409, "It runs on, because its kind of pool cannot end a task."),
}
_in_progress = may_answer(409, "The same request is being worked on.") | may_answer(
    413, "The body is too long."
)

with_alias(
    router,
    "/tasks",
    submit_task,
    "POST",
    summary="Submit a task",
    status_code=202,
    responses=_in_progress,
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": _EXAMPLES}}}},
)
with_alias(router, "/tasks", list_tasks, "GET", summary="Find tasks")
with_alias(router, "/tasks/types", list_types, "GET", summary="Tasks that can be submitted")
with_alias(router, "/tasks/{task_id:path}", get_task, "GET", summary="Look at a task", responses=_UNKNOWN)
with_alias(
    router, "/tasks/{task_id:path}", cancel_task, "DELETE", summary="Cancel a task", responses=_cancel_errors
)
