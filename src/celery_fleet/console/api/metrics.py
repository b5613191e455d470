"""`GET /metrics`, for Prometheus: open to those who ask the console itself, as its scrapes have no key."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from .. import metrics
from ..auth import actor_of
from ..fleet import FleetOf

router = APIRouter(tags=["service"])

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def scraper(request: Request) -> None:
    """Dependency: whom a proxy has let in comes from outside, and needs a key. Raises Unauthenticated."""
    if "X-Forwarded-For" in request.headers:
        actor_of(request)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(fleet: FleetOf, _: Annotated[None, Depends(scraper)]) -> PlainTextResponse:
    """The figures of the fleet in the text format of Prometheus. Through a proxy it needs a key."""
    return PlainTextResponse(metrics.metrics(fleet), media_type=_TYPE)
