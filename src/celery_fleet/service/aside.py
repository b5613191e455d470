"""Messages that no worker can run as a task: dead letters, where Celery would drop them or end itself."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from celery import bootsteps
from celery.exceptions import InvalidTaskError
from kombu.exceptions import ContentDisallowed
from kombu.utils.encoding import safe_str
from redis.exceptions import RedisError

from celery_fleet.delivery.transport import Fenced
from celery_fleet.store.deadletters import letter_of

from . import recorder

log = logging.getLogger(__name__)


class SetAside(bootsteps.StartStopStep):  # type: ignore[misc]
    """Consumer bootstep: stores what Celery is about to drop, before it acknowledges it.

    Celery's own handlers still run, once the letter is stored: they log, acknowledge, and tell the result
    backend. A task unknown to this release may be known to the next: its letter can be retried then.
    """

    label = "Set aside"

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        consumer.on_decode_error = _on_decode_error(consumer, consumer.on_decode_error)
        consumer.on_unknown_message = _on_unknown_message(consumer, consumer.on_unknown_message)
        consumer.on_unknown_task = _on_unknown_task(consumer, consumer.on_unknown_task)
        consumer.on_invalid_task = _on_invalid_task(consumer, consumer.on_invalid_task)
        consumer.create_task_handler = _checking(consumer, consumer.create_task_handler)


_Handler = Callable[..., Any]


def _on_decode_error(consumer: Any, drop: _Handler) -> _Handler:
    def on_decode_error(message: Any, exc: Exception) -> None:
        _set_aside(consumer, message, "undecodable", exc, partial(drop, message, exc))

    return on_decode_error


def _on_unknown_message(consumer: Any, drop: _Handler) -> _Handler:
    def on_unknown_message(body: Any, message: Any) -> None:
        error = InvalidTaskError("the message names no task")
        _set_aside(consumer, message, "invalid", error, partial(drop, body, message))

    return on_unknown_message


def _on_unknown_task(consumer: Any, drop: _Handler) -> _Handler:
    def on_unknown_task(body: Any, message: Any, exc: Exception) -> None:
        _set_aside(consumer, message, "unknown_task", exc, partial(drop, body, message, exc))

    return on_unknown_task


def _on_invalid_task(consumer: Any, drop: _Handler) -> _Handler:
    def on_invalid_task(body: Any, message: Any, exc: Exception) -> None:
        reason = "undecodable" if isinstance(exc, ContentDisallowed) else "invalid"
        _set_aside(consumer, message, reason, exc, partial(drop, body, message, exc))

    return on_invalid_task


def _checking(consumer: Any, create: _Handler) -> _Handler:
    def create_task_handler(*args: Any, **options: Any) -> Callable[[Any], Any]:
        handle = create(*args, **options)

        def on_task_received(message: Any) -> Any:
            problem = flaw(message)
            if problem:
                return consumer.on_invalid_task(None, message, InvalidTaskError(problem))
            try:
                return handle(message)
            except (*consumer.connection_errors, RedisError, Fenced):
                raise  # it is not the message's fault
            except Exception as error:
                # Whatever it is, it would end this worker, and the next one that takes the message.
                log.exception("A message cannot be taken")
                return consumer.on_invalid_task(None, message, error)

        return on_task_received

    return create_task_handler


_TEXT: Any = str | None
_NUMBER: Any = int | None
_HEADERS: Mapping[str, Any] = {
    "root_id": _TEXT, "parent_id": _TEXT, "group": _TEXT, "group_index": _NUMBER, "shadow": _TEXT, "eta": _TEXT,
    "expires": str | int | float | None, "retries": _NUMBER, "argsrepr": _TEXT, "kwargsrepr": _TEXT, "origin": _TEXT,
    "stamps": Mapping | None, "stamped_headers": list | tuple | None, "replaced_task_nesting": _NUMBER,
}  # fmt: skip
"""What Celery takes for granted; where it may be missing, None does as well."""
_EMBEDDED: Mapping[str, Any] = {
    "callbacks": list | None, "errbacks": list | None, "chain": list | None, "chord": Mapping | None,
}  # fmt: skip
_PROPERTIES: Mapping[str, Any] = {"reply_to": _TEXT, "correlation_id": _TEXT, "priority": int | float | None}


def flaw(message: Any) -> str:
    """Why a message that calls itself a task would end the worker that takes it; empty: it would not.

    What Celery itself finds and handles, such as a body that cannot be decoded, is none.
    """
    headers = message.headers
    try:
        payload = message.payload
    except Exception:
        return ""
    if isinstance(payload, Mapping):
        task = headers if isinstance(headers, Mapping) and "task" in headers else payload
        return _flaw_of_call(task, payload, message.properties) if "task" in task else ""
    if not isinstance(headers, Mapping) or "task" not in headers:
        return ""
    if (
        not isinstance(payload, list | tuple)
        or len(payload) != 3
        or not isinstance(payload[2], Mapping | None)
    ):
        return "its body is not [args, kwargs, embed]"
    args, kwargs, embed = payload
    return _flaw_of_call(headers, {**(embed or {}), "args": args, "kwargs": kwargs}, message.properties)


def _is_signature(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("task"), str)


def _flaw_of_call(task: Mapping[str, Any], call: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    limits, stamped = task.get("timelimit"), task.get("stamped_headers")
    checks = {
        "its name is no text": isinstance(task.get("task"), str),
        "its id is no text": isinstance(task.get("id"), str),
        "its args are no list": isinstance(call.get("args", ()), list | tuple),
        "its kwargs are no mapping": isinstance(call.get("kwargs", {}), Mapping),
        "its timelimit is no pair of numbers": not limits
        or (
            isinstance(limits, list | tuple)
            and len(limits) == 2
            and all(isinstance(each, int | float | None) for each in limits)
        ),
    }
    for known, said in ((_HEADERS, task), (_EMBEDDED, call), (_PROPERTIES, properties)):
        checks |= {
            f"its {name} is {type(said[name]).__name__}": isinstance(said[name], kind)
            for name, kind in known.items()
            if name in said
        }
    for name in ("callbacks", "errbacks", "chain"):
        if isinstance(calls := call.get(name), list):
            checks[f"its {name} are no signatures"] = all(map(_is_signature, calls))
    if isinstance(chord := call.get("chord"), Mapping):
        checks["its chord is no signature"] = _is_signature(chord)
    if isinstance(stamped, list | tuple):
        checks["its stamped_headers are no texts"] = all(isinstance(each, str) for each in stamped)
    return next((problem for problem, fine in checks.items() if not fine), "")


def _set_aside(
    consumer: Any, message: Any, reason: str, error: Exception, drop: Callable[[], object]
) -> None:
    letter = letter_of(
        recorder.raw_message(message),
        reason=reason,
        exception=type(error).__name__,
        error=str(safe_str(error)),  # type: ignore[no-untyped-call]
        queue=recorder.queue_name(consumer.app, message.delivery_info),
        worker=consumer.hostname,
    )

    def finish() -> None:
        try:
            drop()
        except consumer.connection_errors:
            raise
        except Exception:  # Celery describes it before it rejects it, and not every message can be described
            if not message.acknowledged:
                message.reject_log_error(log, consumer.connection_errors)
        if reason != "unknown_task" and not letter.task_id.startswith("message-"):
            consumer.app.backend.mark_as_failure(letter.task_id, error)

    if recorder.keep(letter, partial(consumer.call_soon, finish)):
        finish()
