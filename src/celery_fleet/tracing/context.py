"""W3C's trace context in the headers of messages, without OpenTelemetry."""

from collections.abc import Mapping
from typing import Any

from celery._state import get_current_task

FIELDS = ("traceparent", "tracestate")


def carry(headers: dict[str, Any] | None = None, **_: object) -> None:
    """Receiver of `before_task_publish`: a task that a task sends belongs to the same trace.

    So that a trace goes on behind a process that does not trace.
    """
    if headers is not None and "traceparent" not in headers:
        headers |= of_current_task()


def of_current_task() -> dict[str, str]:
    """The context that the message of the running task came with; empty: it came with none, or no task runs."""
    task = get_current_task()
    return found_in(task.request.headers) if task else {}


def found_in(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """The context in the headers of a message, which may be anybody's."""
    if not headers or not isinstance(headers.get("traceparent"), str):
        return {}
    return {name: headers[name] for name in FIELDS if isinstance(headers.get(name), str)}
