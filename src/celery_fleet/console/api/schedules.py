"""The schedules of Beat."""

from typing import Annotated, Any

from fastapi import APIRouter, Header

from .. import schedules
from ..auth import Operator, Viewer
from ..errors import may_answer
from ..fleet import FleetOf
from ..models.schedules import RunRequest, RunResult, ScheduleList
from ..tasks.idempotency import once

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])


@router.get("")
def list_schedules(fleet: FleetOf, _: Viewer) -> ScheduleList:
    """Whether Beat is there, and what it sends when."""
    return schedules.schedules(fleet)


@router.post(
    "/{name:path}/run", status_code=202, responses=may_answer(404, "The schedule has no such entry.")
)
def run_schedule(
    fleet: FleetOf,
    actor: Operator,
    name: str,
    asked: RunRequest | None = None,
    idempotency_key: Annotated[str, Header(description="Instead of a token: any text of your own.")] = "",
) -> RunResult:
    """Sends the entry's task now, beside its schedule. With the token of the list it is sent once, however often
    this is repeated: `repeated` says so, with the id of the task."""
    token = asked.token if asked else ""

    def run(_seed: str, _again: bool) -> dict[str, Any]:
        return schedules.run_now(fleet, actor, name, token).model_dump()

    done = once(fleet, actor.name, idempotency_key, f"{name}\n{token}", run)
    return RunResult(**{**done.answer, "repeated": done.replayed or done.answer["repeated"]})
