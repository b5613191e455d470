"""The lines that tell the life of a task, and the journal fields of all that is logged while it runs."""

import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery import signals
from celery._state import get_current_task
from celery.exceptions import MaxRetriesExceededError, WorkerLostError

from celery_fleet.policy import retry
from celery_fleet.store.deadletters import trace_id

from .environment import Environment
from .journal import cut
from .showing import discreet

log = logging.getLogger("celery_fleet.tasks")

_LONGEST_REASON = 500
_CALLERS = ("celery.app.trace", retry.__name__)
"""Modules that a task is called by, which no traceback needs to show."""

_told_of: ContextVar[tuple[Mapping[str, object], tuple[Any, Any]] | None] = ContextVar(
    "told_of", default=None
)


def connect() -> None:
    """Receive the signals. In prefork pools most are sent in the children, some only in the main process."""
    signals.task_prerun.connect(on_start)
    signals.task_postrun.connect(on_end)
    signals.task_failure.connect(on_failure)
    signals.task_retry.connect(on_retry)
    signals.task_revoked.connect(on_revoked)


def on_start(sender: Any, task_id: str, **_: object) -> None:
    sender.request.fleet_started = time.monotonic()
    log.info("Task started task_id=%s task_name=%s", task_id, sender.name)


def on_end(sender: Any, task_id: str, state: str | None, **_: object) -> None:
    if state in ("FAILURE", "RETRY", None):  # told by their own lines
        return
    started = getattr(sender.request, "fleet_started", None)
    duration = 0.0 if started is None else time.monotonic() - started
    log.info("Task completed task_id=%s duration=%s state=%s", task_id, round(duration, 3), state)


def on_failure(
    sender: Any, task_id: str, exception: BaseException, traceback: Any = None, **_: object
) -> None:
    name = type(exception).__name__
    log.error(
        "Task failed task_id=%s exception=%s%s",
        task_id,
        name,
        _told(exception, traceback, expected=isinstance(exception, sender.throws or ())),
        extra={"fleet": {**request_fields(sender, sender.request, task_id), "EXCEPTION": name}},
    )


def on_retry(sender: Any, request: Any, reason: Any = None, **_: object) -> None:
    cause = getattr(reason, "exc", None)
    text = str(reason or "cancelled") if cause is None else str(cause) or type(cause).__name__
    text = discreet(text)  # before it is cut
    lost = retry.losses(request.headers)
    attempt = request.retries + (lost if isinstance(cause, WorkerLostError) else lost + 1)
    log.warning(
        "Task retry scheduled task_id=%s reason=%s attempt=%s",
        request.id,
        one_line(text),
        attempt,
        extra={
            "fleet": {
                **request_fields(sender, request, request.id),
                "EXCEPTION": None if cause is None else type(cause).__name__,
            }
        },
    )


def on_revoked(sender: Any, request: Any, terminated: bool, **_: object) -> None:
    log.warning(
        "Task revoked task_id=%s terminated=%s",
        request.id,
        bool(terminated),
        extra={"fleet": request_fields(sender, request, request.id)},
    )


@contextmanager
def telling_of(task: Any, request: Any, task_id: str) -> Iterator[None]:
    """What is logged meanwhile is about this task, though it does not run here."""
    token = _told_of.set((request_fields(task, request, task_id), (task, request)))
    try:
        yield
    finally:
        _told_of.reset(token)


def task_context(record: logging.LogRecord, environment: Environment) -> dict[str, object]:
    """The journal fields of a record: the task it tells of, else the one that runs, else only the service."""
    fields: dict[str, object] = {"POOL": environment.pool, "RELEASE": environment.release}
    if record.exc_info and record.exc_info[0]:
        fields["EXCEPTION"] = record.exc_info[0].__name__
    return {**fields, **(getattr(record, "fleet", None) or _telling() or _running() or {})}


def discreet_line(text: str) -> str:
    """A line of the log, without the hidden arguments of the task that it tells of."""
    told = _told_of.get()
    return discreet(text, told[1] if told else None)


def _telling() -> Mapping[str, object] | None:
    told = _told_of.get()
    return told[0] if told else None


def _running() -> dict[str, object] | None:
    task = get_current_task()
    return request_fields(task, task.request, task.request.id) if task and task.request.id else None


def request_fields(task: Any, request: Any, task_id: str) -> dict[str, object]:
    """The journal fields that name a task. Its arguments are never among them."""
    return {
        "TASK_ID": task_id,
        "TASK_NAME": task.name,
        "QUEUE": (request.delivery_info or {}).get("routing_key"),
        "WORKER": request.hostname,
        "RETRIES": request.retries,
        "ROOT_ID": request.root_id,
        "TRACE_ID": trace_id((request.headers or {}).get("traceparent")),
    }


def one_line(text: str) -> str:
    """The text on one line, cut when it is long."""
    return cut(" ".join(text.split()), _LONGEST_REASON)


def _told(exception: BaseException, tb: Any, expected: bool) -> str:
    """What follows a failure: the traceback from the app's code on, unless the task declared the error."""
    if expected or not hasattr(tb, "tb_frame"):
        return ""
    while tb.tb_next and tb.tb_frame.f_globals.get("__name__") in _CALLERS:
        tb = tb.tb_next
    text = "\n" + "".join(traceback.format_exception(type(exception), exception, tb)).rstrip()
    if isinstance(exception, MaxRetriesExceededError):  # its text shows the arguments of the task
        text = text.replace(str(exception), "no retries left")
    return text
