"""The dashboards of metrics."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from redis import RedisError

from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.model import STAT, Panel
from celery_fleet.panels.queries import RANGES

from .. import dashboards
from ..api.dashboards import Chosen
from ..auth import Viewer
from ..errors import Unavailable
from ..fleet import Fleet, FleetOf
from ..models.dashboards import DashboardDetail, DeployInfo
from .rendering import redirect, render

router = APIRouter()

PATH = "/ui/metrics"
USUAL = "1h"


@router.get(PATH)
def home(request: Request, _actor: Viewer) -> Response:
    return redirect(request, f"{PATH}/{DASHBOARDS[0].name}")


@router.get(PATH + "/{name}")
def dashboard(
    request: Request,
    fleet: FleetOf,
    _actor: Viewer,
    name: str,
    chosen: Chosen,
    within: Annotated[str, Query(alias="range")] = USUAL,
) -> Response:
    within = within if within in RANGES else USUAL
    found = dashboards.find(name)
    try:
        detail = dashboards.detail(fleet, name, chosen)
    except Unavailable:  # many ask at this moment: the page asks again for its panels
        detail = dashboards.detail_without_values(found, chosen)
    return render(
        request,
        "metrics.html",
        active="metrics",
        dashboards=DASHBOARDS,
        dashboard=found,
        detail=detail,
        sections=[(section.title, list(grouped(section.panels))) for section in found.sections],
        ranges=tuple(RANGES),
        within=within,
        kept=kept(detail),
        query=urlencode({"range": within, **kept(detail)}, doseq=True),
        configured=bool(fleet.settings.prometheus_url),
        deploys=_deploys(fleet),
    )


def _deploys(fleet: Fleet) -> list[DeployInfo]:
    """The page is there without Redis."""
    with suppress(RedisError):
        return dashboards.deploys(fleet, 5).deploys
    return []


def grouped(panels: Sequence[Panel]) -> Iterator[tuple[str, list[Panel]]]:
    """Numbers that follow one another stand together."""
    for is_stat, some in groupby(panels, key=lambda panel: panel.kind == STAT):
        yield ("stats" if is_stat else "charts"), list(some)


def kept(detail: DashboardDetail) -> dict[str, list[str]]:
    """What is chosen, for addresses."""
    return {each.name: each.chosen for each in detail.variables if each.chosen}
