"""Spans of what is sent and what runs.

A send is the child of the attempt or the request that sends; an attempt is the child of the send of its message. A
retry is sent by the attempt that failed; when that attempt was killed, by its span that the main process makes in its
place. A dead letter that is tried again goes on where the last send of the dead task was, with a link to whoever asked.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from celery import Celery, signals
from celery.exceptions import MaxRetriesExceededError
from celery.utils.imports import symbol_by_name
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from celery_fleet.service.request import FleetRequest, attempt_lost
from celery_fleet.service.tasklog import one_line
from celery_fleet.store.headers import ORIGIN

from .context import found_in, of_current_task
from .process import Tracing, span_id_wanted


class Spans:
    """Makes the spans of Celery's own steps."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def of_sending(self, app: Celery) -> None:
        """Whatever the app sends from now on has a span."""
        app.amqp_cls = _sending(symbol_by_name(app.amqp_cls), self.sending)
        vars(app).pop("amqp", None)

    def of_running(self) -> None:
        """Whatever this process, or a child of it, runs has a span."""
        signals.task_prerun.connect(self.on_start, weak=False)
        signals.task_postrun.connect(self.on_end, weak=False)
        signals.task_failure.connect(self.on_failure, weak=False)
        signals.task_retry.connect(self.on_retry, weak=False)
        attempt_lost.connect(self.on_lost, weak=False)

    @contextmanager
    def sending(self, name: str, headers: dict[str, Any], destination: str) -> Iterator[None]:
        """The headers of the message get the span's context."""
        parent, links = _parent(headers)
        attributes = _attributes("send", name, headers.get("id"), destination, headers.get("retries"))
        tracer = self._tracing.tracer()
        with tracer.start_as_current_span(
            f"send {name}", parent, SpanKind.PRODUCER, attributes, links, record_exception=False
        ):
            for field in propagate.get_global_textmap().fields:
                headers.pop(field, None)
            propagate.inject(headers)
            yield

    def on_start(self, sender: Any, **_: object) -> None:
        request = sender.request
        headers = request.headers or {}
        parent = contexts.get_current() if request.is_eager else _extracted(headers)
        span = self._attempt(sender, request, parent, os.getpid())
        request.fleet_span = span, contexts.attach(trace.set_span_in_context(span, parent))
        if not found_in(headers):  # whoever sent it does not trace: what is logged meanwhile tells this trace
            propagate.inject(headers)
            request.headers = headers

    def on_end(self, sender: Any, state: str | None, **_: object) -> None:
        span, token = vars(sender.request).pop("fleet_span", (None, None))
        if span:
            contexts.detach(token)
            if state:  # else the process is being killed, and the main process tells of it
                span.set_attribute("celery.state", state)
                span.end()

    def on_failure(self, sender: Any, exception: BaseException, **_: object) -> None:
        span, _token = vars(sender.request).get("fleet_span", (None, None))
        if span:
            _fail(span, exception)

    def on_retry(self, request: Any, reason: Any = None, **_: object) -> None:
        span, _token = vars(request).get("fleet_span", (None, None))
        cause = getattr(reason, "exc", None)
        if span and isinstance(cause, BaseException):
            _fail(span, cause)

    def on_lost(self, request: FleetRequest, error: BaseException | None, **_: object) -> None:
        """The span of an attempt whose process was killed; what is sent for it is sent by this span."""
        context = request._context
        parent = _extracted(context.headers or {})
        began = int(request.time_start * 1e9) if request.time_start else None
        span = self._attempt(request.task, context, parent, request.worker_pid, began)
        if error:
            _fail(span, error)
        span.set_attribute("celery.state", "LOST" if error else "REVOKED")
        span.end()
        headers = dict(context.headers or {})
        propagate.inject(headers, trace.set_span_in_context(span, parent))
        context.headers = headers

    def _attempt(
        self, task: Any, request: Any, parent: Context, process: int | None, began: int | None = None
    ) -> Span:
        queue = (request.delivery_info or {}).get("routing_key")
        kind = SpanKind.INTERNAL if request.is_eager else SpanKind.CONSUMER
        attributes = _attributes("process", task.name, request.id, queue, request.retries)
        # The main process knows it, too, when it has to tell of the attempt what its process cannot tell any more.
        token = span_id_wanted.set(_attempt_id(request, process))
        try:
            tracer = self._tracing.tracer(for_tasks=began is None)
            return tracer.start_span(f"run {task.name}", parent, kind, attributes, start_time=began)
        finally:
            span_id_wanted.reset(token)


def _attempt_id(request: Any, process: int | None) -> int:
    text = f"{request.id} {request.retries} {request.hostname} {process} {request.is_eager}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _sending(base: type, sending: Callable[..., Any]) -> type:
    """The class of an app's `amqp`, with a span for each message."""

    class Sending(base):  # type: ignore[misc]
        def _create_task_sender(self) -> Callable[..., Any]:
            send = super()._create_task_sender()

            def send_task_message(
                producer: Any, name: str, message: Any, headers: Any = None, **options: Any
            ) -> Any:
                own = message[0]
                own.update(headers or {})
                queue = options.get("queue")
                destination = getattr(queue, "name", queue) or options.get("routing_key")
                with sending(name, own, destination):
                    return send(producer, name, message, **options)

            return send_task_message

    return Sending


def _parent(headers: Mapping[str, Any]) -> tuple[Context, list[Link]]:
    """What sends a message with these headers, and what it has to do with besides."""
    current, carried = contexts.get_current(), _extracted(headers)
    sender, before = (trace.get_current_span(each).get_span_context() for each in (current, carried))
    tried_again = headers.get(ORIGIN) and not headers.get("retries")
    if before.is_valid and (tried_again or not sender.is_valid):
        return carried, [Link(sender)] if sender.is_valid else []
    return current if sender.is_valid else _extracted(of_current_task()), []


def _extracted(headers: Mapping[str, Any]) -> Context:
    fields = propagate.get_global_textmap().fields
    return propagate.extract(
        {name: headers[name] for name in fields if isinstance(headers.get(name), str)}, Context()
    )


def _attributes(
    operation: str, name: str, task_id: str | None, destination: str | None, retries: int | None
) -> dict[str, Any]:
    found = {
        "messaging.system": "celery",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.id": task_id,
        "celery.task": name,
        "celery.retries": retries,
    }
    return {key: value for key, value in found.items() if value is not None}


def _fail(span: Span, error: BaseException) -> None:
    """Without a traceback: the journal has it, and hides what is not to be shown."""
    name = type(error).__name__
    # The text of used up retries shows the arguments of the task.
    text = "no retries left" if isinstance(error, MaxRetriesExceededError) else one_line(_text(error))
    span.add_event("exception", {"exception.type": name, "exception.message": text})
    span.set_status(Status(StatusCode.ERROR, name))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its text is the app's code, and only for people
        return ""
