"""`GET /metrics`, for Prometheus: open, as its scrapes have no key."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from .. import metrics
from ..fleet import FleetOf

router = APIRouter(tags=["service"])

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(fleet: FleetOf) -> PlainTextResponse:
    """The figures of the fleet in the text format of Prometheus."""
    return PlainTextResponse(metrics.metrics(fleet), media_type=_TYPE)
