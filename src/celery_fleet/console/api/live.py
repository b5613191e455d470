"""The overview: once, as charts, and as a stream of events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from .. import overview
from ..auth import Viewer
from ..errors import NotFound, may_answer
from ..fleet import FleetOf
from ..history import LONGEST
from ..models.overview import ChartData, Overview

router = APIRouter(prefix="/api/v1", tags=["overview"])


@router.get("/overview")
def get_overview(request: Request, fleet: FleetOf, _: Viewer) -> Overview:
    """The whole fleet at a glance."""
    return overview.current(fleet, request.app.state.hub.alerts)


@router.get("/charts", responses=may_answer(404, "There is no such queue."))
def get_charts(
    fleet: FleetOf,
    _: Viewer,
    minutes: Annotated[int, Query(ge=1, le=LONGEST)] = 60,
    queue: Annotated[str, Query(max_length=200, description="Only of this queue.")] = "",
) -> ChartData:
    """The lines of the last so many minutes, ready to be drawn."""
    if queue and queue not in fleet.topology.queues:
        raise NotFound(f"there is no queue {queue}: GET /api/v1/queues shows those that there are")
    return overview.charts(fleet, minutes, queue)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
)
async def events(
    request: Request, _: Viewer, last_event_id: Annotated[str, Header(max_length=100)] = ""
) -> StreamingResponse:
    """`overview` events, `{"overview": ...}` as GET /api/v1/overview answers, every two seconds; `trouble` events,
    `{"detail", "code"}`, when there is none. A stream ends after a while, to be begun again."""
    hub = request.app.state.hub
    hub.admit()
    return StreamingResponse(
        hub.stream(last_event_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
