"""Traces of the console: a span for each request, below it those of what it sends and asks of Redis."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from celery_fleet.service.environment import Environment
from celery_fleet.tracing.packages import enabling

_UNTRACED = ("/health", "/api/v1/health", "/metrics", "/api/v1/events", "/static")
"""What machines ask all the time, and a stream that never ends."""


def telemetry(environment: Environment) -> TelemetryConfig:
    """What FastAPI is to tell. Where traces are off, nothing of their packages is imported."""
    config: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    enable = enabling() if environment.tracing else None
    if not enable:
        return config
    provider = enable.of_console(environment)
    return {
        **config,
        "tracing": True,
        "tracer_provider": provider,
        "operation_spans": False,
        "exclude": untraced,
    }


def untraced(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request, as ASGI has it, is none that anybody would look for."""
    return str(scope.get("path", "")).startswith(_UNTRACED)
