"""Dead letters: `GET /dlq/failed-tasks` and what can be done with them."""

from typing import Annotated

from fastapi import APIRouter, Query

from celery_fleet.store.deadletters import REASONS

from .. import deadletters
from ..auth import Operator, Viewer
from ..errors import Invalid, may_answer
from ..fleet import FleetOf
from ..models.dead_letters import (
    BulkPreview,
    BulkRequest,
    BulkResult,
    DeadLetterDetail,
    DeadLetterFilter,
    DeadLetterList,
    DeletedLetter,
    RetriedLetter,
)
from .aliases import with_alias

router = APIRouter(tags=["dead letters"])

_PATH = "/dlq/failed-tasks"
_ONE = _PATH + "/{task_id:path}"
_GONE = may_answer(404, "There is none of this id.")
_CONFLICT = may_answer(409, "It is not as it was: `code` says retried, busy or stale.")


def list_dead_letters(
    fleet: FleetOf,
    _: Viewer,
    *,
    name: Annotated[str, Query(max_length=200, description="Of the task; * and ? match any.")] = "",
    queue: Annotated[str, Query(max_length=200)] = "",
    reason: Annotated[str, Query(description=f"One of {', '.join(REASONS)}.")] = "",
    text: Annotated[str, Query(max_length=200, description="Part of the id, name, error or arguments.")] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DeadLetterList:
    """Tasks that have failed for good, newest first."""
    if reason and reason not in REASONS:
        wrong = f"there is no reason {reason!r}: use one of {', '.join(REASONS)}"
        raise Invalid(wrong, errors=[("reason", wrong)])
    asked = DeadLetterFilter(name=name, queue=queue, reason=reason, text=text)
    return deadletters.listing(fleet, asked, offset, limit)


def get_dead_letter(fleet: FleetOf, _: Viewer, task_id: str) -> DeadLetterDetail:
    """One of them, with its traceback and message."""
    return deadletters.get(fleet, task_id)


def retry_dead_letter(fleet: FleetOf, actor: Operator, task_id: str) -> RetriedLetter:
    """Runs the task again under a new id, once however many ask: 409 with that id for those who come later."""
    return deadletters.retry(fleet, actor, task_id)


def delete_dead_letter(fleet: FleetOf, actor: Operator, task_id: str) -> DeletedLetter:
    """Deletes it for good; 404 when it is gone already."""
    return deadletters.delete(fleet, actor, task_id)


@router.post("/api/v1/dlq/preview")
def preview_bulk(fleet: FleetOf, _: Viewer, asked: DeadLetterFilter) -> BulkPreview:
    """What an action on all that pass a filter, or on these ids, would touch; and the token for it."""
    return deadletters.preview(fleet, asked)


@router.post("/api/v1/dlq/bulk", responses=_CONFLICT)
def bulk(fleet: FleetOf, actor: Operator, asked: BulkRequest) -> BulkResult:
    """Retries or deletes the letters of a preview; 409 when they are no more as they were then."""
    return deadletters.bulk(fleet, actor, asked.action, asked, asked.token)


with_alias(router, _PATH, list_dead_letters, "GET")
with_alias(router, f"{_ONE}/retry", retry_dead_letter, "POST", responses=_GONE | _CONFLICT)
with_alias(router, _ONE, get_dead_letter, "GET", responses=_GONE)
with_alias(router, _ONE, delete_dead_letter, "DELETE", responses=_GONE)
