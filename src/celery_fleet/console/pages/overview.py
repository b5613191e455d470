"""The fleet at a glance."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..auth import Viewer
from ..dashboards import deploys
from ..fleet import FleetOf
from ..overview import current
from ..workers import pools
from .rendering import render

router = APIRouter()


@router.get("/ui")
def overview_page(request: Request, fleet: FleetOf, _actor: Viewer) -> Response:
    found = current(fleet, request.app.state.hub.alerts)
    return render(
        request,
        "overview.html",
        active="overview",
        overview=found,
        latest=found,
        pools=pools(fleet),
        deploys=deploys(fleet, 3).deploys,
    )
