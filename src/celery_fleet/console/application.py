"""The ASGI application of the console."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from celery_fleet import __version__

from . import pages
from .api import modules
from .auth import Gate
from .errors import handle_errors
from .fleet import Fleet
from .frame import Frame
from .limits import BodyLimit, Buckets, RateLimit
from .live import Hub
from .models.common import ErrorBody
from .pages.assets import Assets
from .pages.rendering import error as error_page
from .settings import Settings
from .tracing import telemetry

_DESCRIPTION = """
Submit, find and cancel tasks; look after queues, workers and dead letters.

Send a key in `X-API-Key`, or as `Authorization: Bearer`. A key whose role is *viewer* may look, an *operator* may act.
Every error has one shape (`detail`, `code`, `request_id`, and `errors` field by field); every answer has `X-Request-ID`.
The paths without `/api/v1` that older clients use answer the same.
"""

_TAGS = [
    {"name": "tasks", "description": "Submit tasks, find them, cancel them; their figures and health."},
    {"name": "flows", "description": "Tasks that depend on each other."},
    {"name": "queues", "description": "What waits, and how long; pause and resume."},
    {"name": "workers", "description": "Who works; drain and undrain."},
    {"name": "dead letters", "description": "Tasks that have failed for good: retry them or delete them."},
    {"name": "schedules", "description": "What Beat starts, and when."},
    {"name": "alerts", "description": "Alerts of Alertmanager, and silences."},
    {"name": "audit", "description": "What operators did."},
    {"name": "overview", "description": "The whole fleet at a glance, also as a stream of events."},
    {"name": "metrics", "description": "Dashboards of what Prometheus keeps, and deployments."},
    {"name": "service", "description": "The console itself."},
]

_ERRORS = {
    401: "No key, or one that nobody knows.",
    403: "The key may not do that.",
    422: "The request is not valid.",
    429: "Too many requests.",
    503: "Redis is away.",
}


def create_app(settings: Settings) -> FastAPI:
    """Raises ValueError, OSError, InvalidTopology, InstallError for what is not usable."""
    fleet = Fleet(settings)
    buckets = Buckets(settings.rate, 2 * settings.rate)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub = app.state.hub
        await hub.start()
        try:
            yield
        finally:
            await hub.close()
            fleet.close()

    app = FastAPI(
        title="Celery fleet",
        version=__version__,
        description=_DESCRIPTION,
        # The document takes a second to make: not in the event loop, as FastAPI does it. Its pages for people load
        # code from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        openapi_tags=_TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=telemetry(settings.environment),
        responses={status: {"model": ErrorBody, "description": text} for status, text in _ERRORS.items()},
    )
    app.state.fleet = fleet
    app.state.gate = Gate.of(settings.keys_file, settings.session_key_file, buckets)
    app.state.hub = Hub(fleet)
    app.state.error_page = error_page
    handle_errors(app)
    for module in modules:
        app.include_router(module.router)
    app.add_api_route("/api/v1/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.include_router(pages.router)
    app.mount("/static", Assets(), name="static")
    # The last one is the outermost.
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(RateLimit, buckets=buckets)
    app.add_middleware(Frame)
    return app
