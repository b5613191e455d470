"""What is left of Celery's own log lines."""

import inspect
import logging

import pytest
from celery.app import trace
from celery.worker import strategy
from celery.worker.consumer import consumer

from celery_fleet.service import celerylog


def record(message, *args, name="celery.worker.consumer.consumer", level=logging.ERROR):
    return logging.LogRecord(name, level, __file__, 1, message, args, (KeyError, KeyError("t"), None))


@pytest.mark.parametrize(
    ("line", "args", "text"),
    [
        (
            consumer.UNKNOWN_TASK_ERROR,
            (KeyError("t"), "hush", {"argsrepr": "hush"}, {}),
            "name that the app does not",
        ),
        (consumer.INVALID_TASK_ERROR, (ValueError("no id"), "hush"), "not valid, set it aside: no id"),
        (
            consumer.MESSAGE_DECODE_ERROR,
            (ValueError("bad"), "json", "utf-8", "hush", "hush"),
            "cannot be decoded",
        ),
        (consumer.UNKNOWN_FORMAT, ("hush",), "no task"),
        ("Couldn't convert ETA %r to timestamp: %r. Task: %r", ("never", "x", "hush"), "bad ETA"),
    ],
)
def test_messages_are_not_shown(line, args, text):
    shown = record(line, *args)
    assert celerylog.discreet(shown)
    assert text in shown.getMessage()
    assert "hush" not in shown.getMessage()
    assert shown.exc_info is None


def test_the_lines_are_celerys():
    assert "Couldn't convert ETA %r to timestamp: %r. Task: %r" in inspect.getsource(strategy)
    source = inspect.getsource(consumer.Consumer)
    for name in ("UNKNOWN_TASK_ERROR", "INVALID_TASK_ERROR", "MESSAGE_DECODE_ERROR", "UNKNOWN_FORMAT"):
        assert name in source


@pytest.mark.parametrize(
    "line", [trace.LOG_SUCCESS, trace.LOG_FAILURE.strip(), trace.LOG_REJECTED, trace.LOG_RETRY]
)
def test_what_is_said_better_is_dropped(line):
    assert not celerylog.discreet(record(line, name="celery.app.trace"))


def test_internal_errors_stay():
    assert celerylog.discreet(
        record(trace.LOG_INTERNAL_ERROR.strip(), name="celery.app.trace", level=logging.CRITICAL)
    )


def test_other_lines_stay_as_they_are():
    other = record("Process cleanup failed: %r", "why", name="celery.app.trace")
    assert celerylog.discreet(other)
    assert other.getMessage() == "Process cleanup failed: 'why'"
    assert other.exc_info


def test_the_warning_about_a_choice_that_was_made_is_dropped():
    assert not celerylog.discreet(record(f"x: {consumer.CANCEL_TASKS_BY_DEFAULT}", name="py.warnings"))
    assert celerylog.discreet(record("DeprecationWarning: something else", name="py.warnings"))


def test_debug_shows_no_arguments():
    loggers = [logging.getLogger(name) for name in ("celery.worker.strategy", "celery.pool")]
    before = [logger.level for logger in loggers]
    try:
        celerylog.quieten(logging.DEBUG)
        assert not any(logger.isEnabledFor(logging.DEBUG) for logger in loggers)
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
