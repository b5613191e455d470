"""Spans of the HTTP calls that tasks make, and of the commands to Redis where they are wanted."""

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.error import HTTPError

from opentelemetry import propagate, trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.http import redact_url

_HTTP = {"requests": "RequestsInstrumentor", "httpx": "HTTPXClientInstrumentor"}
_REDIS = {"redis": "RedisInstrumentor"}


def load() -> None:
    """Imports what `observe` needs, for all children of this process."""
    _instrumentors(_HTTP)


def observe(provider: trace.TracerProvider) -> None:
    """From now on, HTTP calls of this process by requests, httpx and urllib have spans, and carry them on."""
    for instrumentor in _instrumentors(_HTTP):
        instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    _observe_urllib(provider)


def observe_redis(provider: trace.TracerProvider) -> None:
    """Commands to Redis, too, which are none of a worker's tasks: its queues and results would be in their traces."""
    for instrumentor in _instrumentors(_REDIS):
        instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)


def _instrumentors(names: dict[str, str]) -> list[Any]:
    """For those of the libraries that are installed, and can be observed."""
    return [
        getattr(import_module(f"opentelemetry.instrumentation.{library}"), name)()
        for library, name in names.items()
        if find_spec(library) and find_spec(f"opentelemetry.instrumentation.{library}")
    ]


def _observe_urllib(provider: trace.TracerProvider) -> None:
    tracer = trace.get_tracer(__name__, tracer_provider=provider)
    director: Any = urllib.request.OpenerDirector
    plain = getattr(director.open, "__wrapped__", director.open)
    director.open = _traced(plain, tracer)


def _traced(plain: Callable[..., Any], tracer: trace.Tracer) -> Callable[..., Any]:
    @wraps(plain)
    def open_traced(self: Any, fullurl: Any, data: Any = None, *rest: Any, **more: Any) -> Any:
        if isinstance(fullurl, str) and fullurl.startswith(("http:", "https:")):
            fullurl, data = urllib.request.Request(fullurl, data), None  # noqa: S310 - checked
        request = fullurl
        if getattr(request, "type", "") not in ("http", "https") or not is_http_instrumentation_enabled():
            return plain(self, fullurl, data, *rest, **more)
        method = "POST" if data is not None else request.get_method()
        with _call(tracer, method, request.full_url) as span:
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            for name, value in carrier.items():
                request.add_header(name, value)
            answer = plain(self, request, data, *rest, **more)
            _note(span, answer.status)
            return answer

    return open_traced


@contextmanager
def _call(tracer: trace.Tracer, method: str, url: str) -> Iterator[Span]:
    attributes = {"http.request.method": method, "url.full": redact_url(url)}
    with tracer.start_as_current_span(method, kind=SpanKind.CLIENT, attributes=attributes) as span:
        try:
            yield span
        except HTTPError as error:
            _note(span, error.code)
            raise


def _note(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        span.set_status(Status(StatusCode.ERROR))
