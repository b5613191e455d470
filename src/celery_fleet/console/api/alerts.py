"""Alerts of Alertmanager, and silences."""

from fastapi import APIRouter

from .. import alerts
from ..auth import Operator, Viewer
from ..errors import may_answer
from ..fleet import FleetOf
from ..models.alerts import AlertList, Silenced, SilenceRequest

router = APIRouter(prefix="/api/v1", tags=["alerts"])


@router.get("/alerts")
def list_alerts(fleet: FleetOf, _: Viewer) -> AlertList:
    """Alerts, the worst first, and silences; `available` is false when Alertmanager is not there."""
    return alerts.alerts(fleet)


@router.post("/silences", status_code=201)
def silence(fleet: FleetOf, actor: Operator, asked: SilenceRequest) -> Silenced:
    """Silences an alert, or what matches, for a while. The same again extends it."""
    return alerts.silence(fleet, actor, asked)


@router.delete("/silences/{silence_id}", responses=may_answer(404, "Alertmanager knows no such silence."))
def unsilence(fleet: FleetOf, actor: Operator, silence_id: str) -> Silenced:
    """Ends a silence."""
    return alerts.unsilence(fleet, actor, silence_id)
