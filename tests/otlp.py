"""A backend for traces: OTLP over HTTP, as any of them takes it, and a web server that calls can be made to."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan


@dataclass(frozen=True)
class Span:
    """A span as it came. Times are seconds since the epoch."""

    name: str
    kind: str
    """INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER."""
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    end: float
    failed: bool
    attributes: Mapping[str, Any]
    links: tuple[str, ...]
    """The ids of the spans."""
    exceptions: tuple[str, ...]
    """The names of their classes."""
    resource: Mapping[str, Any]

    @property
    def service(self) -> str:
        return str(self.resource.get("service.name", ""))


@dataclass
class Backend:
    """Keeps all that it is sent."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    """The headers of what came."""
    status: int = 200
    """What it answers."""
    delay: float = 0
    """Seconds that it thinks before it answers."""

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def named(self, name: str) -> list[Span]:
        return sorted((span for span in list(self.spans) if span.name == name), key=lambda span: span.start)


def tree(spans: Iterable[Span]) -> list[Any]:
    """[line, [children ...]] of each span without a parent among these, by time; a line is `KIND name`, and `!`."""
    known = {span.span_id: span for span in spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(known.values(), key=lambda span: span.start):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)

    def shown(span: Span) -> list[Any]:
        line = f"{span.kind} {span.name}{' !' if span.failed else ''}"
        return [line, *map(shown, below.get(span.span_id, []))]

    return [shown(span) for span in below.get("", [])]


def is_redis(span: Span) -> bool:
    """Whether it is a command to Redis."""
    return "redis" in (span.attributes.get("db.system"), span.attributes.get("db.system.name"))


@contextmanager
def backend(host: str = "127.0.0.1", port: int = 0) -> Iterator[Backend]:
    """One that listens until the end."""
    found = Backend()

    class Handler(_Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(found.delay)
            if self.path == "/v1/traces" and found.status == 200:
                found.requests.append(dict(self.headers))
                found.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.answer(
                found.status, ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf"
            )

    with _serving(Handler, host, port) as found.url:
        yield found


@dataclass
class Site:
    """Something to call."""

    url: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(path, traceparent) of each call."""


@contextmanager
def site(host: str = "127.0.0.1") -> Iterator[Site]:
    """Answers 200 to everything, but 500 to /broken."""
    found = Site()

    class Handler(_Quiet):
        def do_GET(self) -> None:
            found.calls.append((self.path, self.headers.get("traceparent", "")))
            self.answer(500 if self.path == "/broken" else 200, b"{}", "application/json")

    with _serving(Handler, host, 0) as found.url:
        yield found


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], host: str, port: int) -> Iterator[str]:
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    name=span.name,
                    kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano / 1e9,
                    end=span.end_time_unix_nano / 1e9,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_attributes(span.attributes),
                    links=tuple(link.span_id.hex() for link in span.links),
                    exceptions=tuple(
                        str(_attributes(event.attributes).get("exception.type"))
                        for event in span.events
                        if event.name == "exception"
                    ),
                    resource=resource,
                )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
