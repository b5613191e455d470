"""Celery's own log lines: without those that repeat what the lines of a task say, and without arguments."""

import logging

from celery.app import trace
from celery.worker.consumer import consumer

_SAID_BETTER = frozenset(
    text.strip() for text in (trace.LOG_SUCCESS, trace.LOG_FAILURE, trace.LOG_REJECTED, trace.LOG_RETRY)
)

# Lines that show a message whole: what is logged instead, made from the first of their values.
_WITHOUT_BODY = {
    consumer.UNKNOWN_TASK_ERROR: "Received a task of a name that the app does not have, set it aside: %s",
    consumer.INVALID_TASK_ERROR: "Received a task that is not valid, set it aside: %s",
    consumer.MESSAGE_DECODE_ERROR: "Received a message that cannot be decoded, set it aside: %r",
    consumer.UNKNOWN_FORMAT: "Received a message that is no task, set it aside",
    "Couldn't convert ETA %r to timestamp: %r. Task: %r": "Received a task with a bad ETA, set it aside: %r",
}

_DISCREET = ("celery.app.trace", "celery.worker.consumer.consumer", "celery.worker.strategy", "py.warnings")

# The installation has made the choice that Celery recommends to make, at each loss of a connection.
_CHOSEN = "worker_cancel_long_running_tasks_on_connection_loss"


def quieten(level: int) -> None:
    """Has Celery's loggers follow this module, when the log is at this level."""
    logging.getLogger("celery.worker.strategy").setLevel(max(level, logging.WARNING))  # "Task received"
    logging.getLogger("celery.pool").setLevel(max(level, logging.INFO))  # arguments, at level debug
    for name in _DISCREET:
        logging.getLogger(name).addFilter(discreet)


def discreet(record: logging.LogRecord) -> bool:
    """A filter: drops a record, or takes out of it what is not to be shown."""
    text = record.msg if isinstance(record.msg, str) else ""
    if instead := _WITHOUT_BODY.get(text):
        values = record.args if isinstance(record.args, tuple) else ()
        record.msg, record.args, record.exc_info = instead, values[: instead.count("%")], None
    if record.name == "py.warnings":
        return _CHOSEN not in record.getMessage()
    return record.levelno >= logging.CRITICAL or text.strip() not in _SAID_BETTER
