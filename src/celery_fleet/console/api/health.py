"""Whether the console and its Redis are there: open to all, for load balancers and people."""

import time

import redis
from fastapi import APIRouter, Response
from pydantic import Field

from celery_fleet import __version__

from ..fleet import FleetOf
from ..models.common import Model, Moment, now

router = APIRouter(tags=["service"])


class Health(Model):
    status: str = Field(description="healthy, or unhealthy: Redis is away", examples=["healthy"])
    version: str
    redis: str = Field(description="connected, or why it is not", examples=["connected"])
    latency_ms: float | None = Field(description="of an answer of Redis")
    timestamp: Moment


@router.head("/health", include_in_schema=False)
@router.get("/api/v1/health", include_in_schema=False)
@router.get("/health", responses={503: {"model": Health, "description": "Redis is away."}})
def health(fleet: FleetOf, response: Response) -> Health:
    """200, or 503 when Redis is away."""
    begun = time.perf_counter()
    try:
        fleet.broker.ping()
        fleet.state.ping()
    except (redis.RedisError, OSError) as error:
        response.status_code = 503
        # Not the error's text: it names addresses, and anybody may ask.
        return Health(
            status="unhealthy",
            version=__version__,
            redis=type(error).__name__,
            latency_ms=None,
            timestamp=now(),
        )
    latency = round((time.perf_counter() - begun) * 1000, 2)
    return Health(
        status="healthy", version=__version__, redis="connected", latency_ms=latency, timestamp=now()
    )
