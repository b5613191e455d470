"""Dashboards of metrics, and deployments."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from .. import dashboards
from ..auth import Viewer
from ..errors import may_answer
from ..fleet import FleetOf
from ..models.dashboards import DashboardDetail, DashboardList, DeployList, PanelData

router = APIRouter(prefix="/api/v1", tags=["metrics"])

_UNKNOWN = may_answer(404, "There is no such dashboard or panel.")

Range = Literal["15m", "1h", "3h", "6h", "24h", "2d", "7d"]
Values = Annotated[
    list[str], Query(default_factory=list, max_length=50, description="Only of these; without: all.")
]


def chosen(queue: Values, worker: Values, pool: Values, instance: Values) -> Mapping[str, list[str]]:
    """The variables of all dashboards. Empty values, which a form sends, mean all."""
    given = {"queue": queue, "worker": worker, "pool": pool, "instance": instance}
    return {name: [each for each in values if each] for name, values in given.items()}


Chosen = Annotated[Mapping[str, list[str]], Depends(chosen)]


@router.get("/dashboards")
def list_dashboards(_: Viewer) -> DashboardList:
    """The dashboards and their panels."""
    return dashboards.dashboards()


@router.get("/dashboards/{name}", responses=_UNKNOWN)
def get_dashboard(fleet: FleetOf, _: Viewer, name: str, variables: Chosen) -> DashboardDetail:
    """One dashboard, and what can be chosen for its variables."""
    return dashboards.detail(fleet, name, variables)


@router.get("/dashboards/{name}/panels/{panel_id}", responses=_UNKNOWN)
def get_panel(
    fleet: FleetOf,
    _: Viewer,
    name: str,
    panel_id: str,
    variables: Chosen,
    within: Annotated[Range, Query(alias="range", description="How much time is shown.")] = "1h",
) -> PanelData:
    """What a panel shows, from Prometheus; `available` is false when it is not there. Only the panel's own queries are run."""
    return dashboards.panel(fleet, name, panel_id, within, variables)


@router.get("/deploys")
def list_deploys(fleet: FleetOf, _: Viewer, limit: Annotated[int, Query(ge=1, le=50)] = 20) -> DeployList:
    """The last deployments and rollbacks, newest first."""
    return dashboards.deploys(fleet, limit)
