"""The life of applications: health checks and metadata."""

import json
import time
from datetime import UTC, datetime
from typing import Any

from taskapp import registry, web
from taskapp.app import HEALTH_CHECK_INTERVAL
from taskapp.errors import FatalError, TransientError
from taskapp.operation import operation
from taskapp.settings import Application, HttpUrl, Name, current
from taskapp.store import current_store

METADATA_LIMIT = 64 * 1024
"""The largest metadata document, in bytes."""


@operation("taskapp.applications.check_health")
def check_health(_self: Any, application_id: Name, health_url: HttpUrl | None = None) -> dict[str, Any]:
    """Ask an application's health URL and store the outcome; `health_url` registers the application.

    An application that is down is a result, not a failure of the task.
    """
    store = current_store()
    if health_url is not None:
        registry.register(store, Application(id=application_id, health_url=health_url))
    url = registry.application(store, application_id)["health_url"]
    health, status_code, latency_ms = probe(url, current().http_timeout)
    checked_at = registry.save_health(store, application_id, health, latency_ms)
    return {
        "application_id": application_id,
        "health": health,
        "status_code": status_code,
        "latency_ms": latency_ms,
        "checked_at": datetime.fromtimestamp(checked_at, UTC).isoformat(),
    }


def probe(url: str, timeout: float) -> tuple[str, int | None, float | None]:
    """Health (`up`, `down`, `unreachable`), HTTP status and latency in milliseconds of a URL."""
    started = time.monotonic()
    try:
        with web.request("GET", url, timeout=timeout) as response:
            latency_ms = round((time.monotonic() - started) * 1000, 3)
            return ("up" if response.ok else "down"), response.status_code, latency_ms
    except TransientError:
        return "unreachable", None, None


@operation("taskapp.applications.check_all_active")
def check_all_active(_self: Any) -> dict[str, Any]:
    """Send one health check per active application. Each carries its URL, so it may run on any host."""
    store = current_store()
    for application in current().applications:
        registry.register(store, application)
    return {
        "tasks": {
            application["id"]: check_health.apply_async(
                kwargs={"application_id": application["id"], "health_url": application["health_url"]},
                expires=HEALTH_CHECK_INTERVAL,
            ).id
            for application in registry.applications(store)
            if application["active"]
        }
    }


@operation("taskapp.applications.update_metadata")
def update_metadata(_self: Any, application_id: Name, metadata_url: HttpUrl | None = None) -> dict[str, Any]:
    """Fetch an application's metadata, a JSON object, and store it; by default from its registered URL."""
    store = current_store()
    known = registry.application(store, application_id)
    url = metadata_url or known["metadata_url"]
    if url is None:
        raise FatalError(f"application {application_id} has no metadata URL")
    with web.request(
        "GET", url, timeout=current().http_timeout, headers={"Accept": "application/json"}
    ) as response:
        web.expect_success(response)
        body = web.read_limited(response, METADATA_LIMIT)
    try:
        metadata = json.loads(body)
    except ValueError:
        raise FatalError(f"the metadata of {application_id} is not JSON") from None
    if not isinstance(metadata, dict):
        raise FatalError(f"the metadata of {application_id} is not a JSON object")
    updated_at = registry.save_metadata(store, application_id, metadata)
    return {
        "application_id": application_id,
        "metadata": metadata,
        "updated_at": datetime.fromtimestamp(updated_at, UTC).isoformat(),
    }
