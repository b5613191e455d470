"""Queues: what waits, pause and resume."""

from typing import Annotated

from fastapi import APIRouter, Query

from .. import queues
from ..auth import Operator, Viewer
from ..errors import may_answer
from ..fleet import FleetOf
from ..models.queues import PauseRequest, PauseResult, QueueDetail, QueueList

router = APIRouter(prefix="/api/v1/queues", tags=["queues"])

_UNKNOWN = may_answer(404, "There is no such queue.")


@router.get("")
def list_queues(fleet: FleetOf, _: Viewer) -> QueueList:
    """All queues: their length by priority, how long the next task has waited, who consumes them."""
    found = queues.all_queues(fleet)
    return QueueList(queues=found, count=len(found), pausable=fleet.topology.delivery == "atomic")


@router.get("/{name:path}", responses=_UNKNOWN)
def get_queue(
    fleet: FleetOf, _: Viewer, name: str, limit: Annotated[int, Query(ge=0, le=500)] = 50
) -> QueueDetail:
    """One queue, how its tasks are run, and the next `limit` in its line."""
    return queues.queue(fleet, name, limit)


@router.post("/{name:path}/pause", responses=_UNKNOWN)
def pause_queue(fleet: FleetOf, actor: Operator, name: str, asked: PauseRequest | None = None) -> PauseResult:
    """Nobody takes from it any more, whatever restarts, until it is resumed. What was taken runs."""
    return queues.pause(fleet, actor, name, asked.reason if asked else "")


@router.post("/{name:path}/resume", responses=_UNKNOWN)
def resume_queue(fleet: FleetOf, actor: Operator, name: str) -> PauseResult:
    """Its tasks are taken again."""
    return queues.resume(fleet, actor, name)
