"""Where the log goes, and what it says of tasks."""

import logging
import os
import socket
from types import SimpleNamespace

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry, WorkerLostError

from celery_fleet.service import logs, tasklog
from celery_fleet.service.environment import Environment

REQUEST = SimpleNamespace(
    id="abc123",
    delivery_info={"routing_key": "celery"},
    hostname="default@h",
    retries=0,
    root_id="root",
    headers=None,
)
TASK = SimpleNamespace(name="automated_gather_creation", request=REQUEST, throws=())
ENVIRONMENT = Environment(pool="default", release="r1")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(logs.MessageFormatter())

    def read():
        return caplog.text.splitlines()

    return read


@pytest.fixture
def root(monkeypatch):
    """The root logger, given back as it was."""
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    yield logger
    for handler in logger.handlers:
        handler.close()


def test_started_and_completed(lines):
    tasklog.on_start(TASK, "abc123")
    REQUEST.fleet_started -= 245.5
    tasklog.on_end(TASK, "abc123", "SUCCESS")
    started, completed = lines()
    assert started == "INFO: Task started task_id=abc123 task_name=automated_gather_creation"
    assert completed.startswith("INFO: Task completed task_id=abc123 duration=245.5")
    assert completed.endswith(" state=SUCCESS")


@pytest.mark.parametrize("state", ["FAILURE", "RETRY", None])
def test_what_did_not_succeed_is_told_by_its_own_line(lines, state):
    tasklog.on_end(TASK, "abc123", state)
    assert lines() == []


def test_failed_with_the_traceback_of_the_app(lines, caplog):
    try:
        raise TimeoutError("too late")
    except TimeoutError as error:
        tasklog.on_failure(TASK, "abc123", error, traceback=error.__traceback__)
    first, *rest = lines()
    assert first == "ERROR: Task failed task_id=abc123 exception=TimeoutError"
    assert rest[-1] == "TimeoutError: too late"
    assert len(caplog.records) == 1
    assert caplog.records[0].fleet["EXCEPTION"] == "TimeoutError"


def test_a_declared_exception_needs_no_traceback(lines):
    task = SimpleNamespace(name="t", request=REQUEST, throws=(KeyError,))
    try:
        raise KeyError("known")
    except KeyError as error:
        tasklog.on_failure(task, "abc123", error, traceback=error.__traceback__)
    assert lines() == ["ERROR: Task failed task_id=abc123 exception=KeyError"]


def test_arguments_are_not_told_by_exhausted_retries(lines):
    try:
        raise MaxRetriesExceededError("Can't retry t[abc123] args:('hush',) kwargs:{}")
    except MaxRetriesExceededError as error:
        tasklog.on_failure(TASK, "abc123", error, traceback=error.__traceback__)
    assert lines()[0] == "ERROR: Task failed task_id=abc123 exception=MaxRetriesExceededError"
    assert lines()[-1].endswith("no retries left")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Retry(exc=ConnectionError("Connection timeout")), "Connection timeout"),
        (Retry(exc=ConnectionError()), "ConnectionError"),
        (Retry(exc=ConnectionError("two\nlines")), "two lines"),
        (Retry("asked to"), "asked to"),
        (None, "cancelled"),
    ],
)
def test_retry(lines, reason, text):
    tasklog.on_retry(TASK, REQUEST, reason=reason)
    assert lines() == [f"WARNING: Task retry scheduled task_id=abc123 reason={text} attempt=1"]


@pytest.mark.parametrize(
    ("retries", "lost", "cause", "attempt"),
    [
        (0, 1, WorkerLostError("gone"), 1),
        (2, 0, ConnectionError("no"), 3),
        (2, 1, ConnectionError("no"), 4),
        (2, 2, WorkerLostError("gone"), 4),
    ],
)
def test_attempts_are_those_that_failed_and_those_whose_process_died(lines, retries, lost, cause, attempt):
    request = SimpleNamespace(**{**vars(REQUEST), "retries": retries, "headers": {"fleet_lost": lost}})
    tasklog.on_retry(TASK, request, reason=Retry(exc=cause))
    assert lines()[0].endswith(f"attempt={attempt}")


@pytest.mark.parametrize("terminated", [True, False])
def test_revoked(lines, terminated):
    tasklog.on_revoked(TASK, REQUEST, terminated=terminated, signum=15, expired=False)
    assert lines() == [f"WARNING: Task revoked task_id=abc123 terminated={terminated}"]


def test_every_line_of_a_running_task_has_its_fields(monkeypatch):
    monkeypatch.setattr(tasklog, "get_current_task", lambda: TASK)
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "working", None, None)
    assert tasklog.task_context(record, ENVIRONMENT) == {
        "POOL": "default",
        "RELEASE": "r1",
        "TASK_ID": "abc123",
        "TASK_NAME": "automated_gather_creation",
        "QUEUE": "celery",
        "WORKER": "default@h",
        "RETRIES": 0,
        "ROOT_ID": "root",
        "TRACE_ID": "",
    }


def test_the_trace_is_that_of_the_message():
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = SimpleNamespace(**{**vars(REQUEST), "headers": {"traceparent": traceparent}})
    assert tasklog.request_fields(TASK, request, "x")["TRACE_ID"] == "0af7651916cd43dd8448eb211c80319c"


def test_a_line_that_tells_of_a_task_has_its_fields_where_none_runs(caplog):
    tasklog.on_revoked(TASK, REQUEST, terminated=True)
    fields = tasklog.task_context(caplog.records[0], ENVIRONMENT)
    assert (fields["TASK_ID"], fields["POOL"]) == ("abc123", "default")


def test_a_line_without_a_task_has_those_of_the_service():
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "idle", None, None)
    assert tasklog.task_context(record, ENVIRONMENT) == {"POOL": "default", "RELEASE": "r1"}


def test_each_line_of_the_file_is_dated(root, tmp_path):
    path = tmp_path / "worker.log"
    logs.configure_logging(Environment(log_file=str(path)), logging.INFO, environ={})
    logging.getLogger("app").info("one\ntwo")
    path.rename(tmp_path / "worker.log.1")
    logging.getLogger("app").info("three")
    first, second = (tmp_path / "worker.log.1").read_text().splitlines()
    assert first.endswith("+00:00 INFO: one")
    assert second.endswith("+00:00 INFO: two")
    assert path.read_text().endswith("+00:00 INFO: three\n")


def test_a_file_that_cannot_be_written_is_done_without(root, capfd):
    logs.configure_logging(Environment(log_file="/nowhere/worker.log"), logging.INFO, environ={})
    assert len(root.handlers) == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"JOURNAL_STREAM": "1:1"}, False),
        ({"JOURNAL_STREAM": "own"}, True),
        ({"INVOCATION_ID": "x"}, True),
    ],
)
def test_when_the_log_belongs_in_the_journal(tmp_path, variables, expected):
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, (tmp_path / "stderr").open("w") as stderr:
        sock.bind(path)
        found = os.fstat(stderr.fileno())
        if variables.get("JOURNAL_STREAM") == "own":
            variables = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert logs.under_journal(variables, path, stderr.fileno()) is expected


def test_no_journal_no_fields(tmp_path):
    assert not logs.under_journal({"INVOCATION_ID": "x"}, str(tmp_path / "nobody"))
