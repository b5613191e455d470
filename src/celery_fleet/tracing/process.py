"""The spans of one process: where they are made, and how they get to the backend.

A process begins with the first span that it makes, so the children of a pool begin after their fork. Spans wait in a
bounded queue, and a thread sends them every second. A backend that is away costs spans, and one line a minute in the
log; tasks do not notice.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind
from opentelemetry.util.re import parse_env_headers

from celery_fleet import __version__
from celery_fleet.service.environment import Environment
from celery_fleet.service.tasklog import one_line

from . import clients

log = logging.getLogger(__name__)

_EXPORT_TIMEOUT = 3.0
"""Seconds that one batch may take, tries included; OTEL_EXPORTER_OTLP_TIMEOUT says otherwise."""
_PERIOD = 1000
"""Milliseconds between batches; OTEL_BSP_SCHEDULE_DELAY says otherwise."""
_COMPLAINT_PERIOD = 60.0

span_id_wanted: ContextVar[int | None] = ContextVar("span_id_wanted", default=None)
"""The id of the span that is made next, where it must be a certain one."""


class Tracing:
    """One for the process and the children that it forks. Raises OSError for headers that cannot be read."""

    def __init__(self, environment: Environment) -> None:
        self._headers = _headers(environment)
        self._resource = _resource(environment)
        self._sampler = ParentBased(_Root(environment.trace_ratio))
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._inherited: _Running | None = None
        self._waits = False
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.close)
        _log_sparingly()

    def tracer(self, for_tasks: bool = False) -> trace.Tracer:
        """What makes the spans. `for_tasks`: tasks run here, whose own spans and HTTP calls belong to it, too."""
        running = self._running or self._begin()
        if (for_tasks or not self._waits) and not running.is_global:
            running.is_global = True
            trace.set_tracer_provider(running.provider)
            clients.observe(running.provider)
        return running.tracer

    def provider(self) -> trace.TracerProvider:
        """Of this process, for libraries that make spans of their own."""
        self.tracer()
        assert self._running  # noqa: S101 - it has just begun
        return self._running.provider

    def wait_for_tasks(self, **_: object) -> None:
        """Receiver of `worker_init`: the main process of a worker may be one that runs no tasks."""
        self._waits = True

    def begin_child(self, **_: object) -> None:
        """Receiver of `worker_process_init`: ends what came with the fork, and belongs to the main process."""
        if self._inherited:
            self._inherited.provider.shutdown()
            self._inherited = None

    def close(self, **_: object) -> None:
        """Sends what is left. Receiver of `worker_process_shutdown`: children leave without their exit handlers."""
        if self._running:
            self._running.exporter.end_soon()
            self._running.provider.shutdown()

    def _begin(self) -> "_Running":
        with self._lock:
            if self._running is None:
                self._running = self._made()
            return self._running

    def _made(self) -> "_Running":
        given = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} & os.environ.keys()
        exporter = _Exporter(
            OTLPSpanExporter(headers=self._headers, timeout=None if given else _EXPORT_TIMEOUT)
        )
        delay = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else _PERIOD
        provider = TracerProvider(
            sampler=self._sampler, resource=self._resource, id_generator=_Ids(), shutdown_on_exit=False
        )
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
        return _Running(provider, provider.get_tracer("celery_fleet", __version__), exporter)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._running:
            self._running.exporter.abandon()
        self._inherited, self._running, self._waits = self._running, None, False


@dataclass
class _Running:
    provider: TracerProvider
    tracer: trace.Tracer
    exporter: "_Exporter"
    is_global: bool = False


class _Exporter(SpanExporter):
    """Hands on to another one; at the end for no longer than a last batch takes."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._end: float | None = None
        self._abandoned = False

    def end_soon(self) -> None:
        self._end = time.monotonic() + _EXPORT_TIMEOUT

    def abandon(self) -> None:
        """It is another process's, its connection too."""
        self._abandoned = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._abandoned or (self._end is not None and time.monotonic() > self._end):
            return SpanExportResult.FAILURE
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        if not self._abandoned:
            self._exporter.shutdown()


class _Root(TraceIdRatioBased):
    """Decides about new traces. A call to another service alone begins none: Redis alone is asked all the time."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any, **more: Any) -> Any:
        kind = more.get("kind", rest[0] if rest else None)
        if kind is SpanKind.CLIENT:
            return SamplingResult(Decision.DROP)
        return super().should_sample(parent_context, trace_id, name, *rest, **more)


class _Ids(RandomIdGenerator):
    def generate_span_id(self) -> int:
        return span_id_wanted.get() or super().generate_span_id()


class _Sparing(logging.Handler):
    """What OpenTelemetry has to say, once a minute."""

    _said = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said > _COMPLAINT_PERIOD:
            self._said = now
            log.warning("Traces are lost: %s", one_line(record.getMessage()))


def _log_sparingly() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_Sparing(logging.WARNING)]
    logger.propagate = False


def _headers(environment: Environment) -> Mapping[str, str] | None:
    file = environment.tracing_headers_file
    return parse_env_headers(file.read_text(encoding="utf-8").strip(), liberal=True) if file else None


def _resource(environment: Environment) -> Resource:
    """Who speaks; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
    host, pool = socket.gethostname(), environment.pool
    known: Mapping[str, str] = {
        "service.name": f"celery-worker/{pool}" if pool else "celery",
        "service.instance.id": f"{pool}@{host}" if pool else f"{host}:{os.getpid()}",
        "service.version": environment.release,
        "host.name": host,
    }
    found = Resource({name: value for name, value in known.items() if value})
    return Resource.create().merge(found).merge(OTELResourceDetector().detect())
