"""Ends of tasks, counted in the main process."""

import logging
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from celery.exceptions import Ignore, Retry, Terminated, WorkerLostError
from celery.worker.request import Request

from celery_fleet.service import request as module
from celery_fleet.service.environment import Environment
from celery_fleet.service.request import LOST, MOST_LOSSES, FleetRequest, fleet_request
from celery_fleet.service.state import Tally
from celery_fleet.service.tasklog import task_context


@pytest.fixture
def tally(monkeypatch):
    fresh = Tally()
    monkeypatch.setattr(module, "tally", fresh)
    return fresh


@pytest.fixture
def request_of_task(monkeypatch):
    """A request whose failures Celery does nothing with."""
    monkeypatch.setattr(Request, "on_failure", Mock())
    made = object.__new__(FleetRequest)
    made._context = SimpleNamespace(headers=None, delivery_info={}, hostname="h", retries=0, root_id="r")
    made._task, made.id = SimpleNamespace(name="t"), "abc123"
    return made


def test_what_celery_logs_of_a_task_in_main_has_its_fields(request_of_task, monkeypatch):
    record = logging.LogRecord("celery", logging.WARNING, __file__, 1, "Soft time limit exceeded", None, None)
    seen = []
    monkeypatch.setattr(Request, "on_timeout", lambda *_: seen.append(task_context(record, Environment())))
    request_of_task.on_timeout(soft=True, timeout=1)
    assert seen[0]["TASK_ID"] == "abc123"
    assert "TASK_ID" not in task_context(record, Environment())


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ValueError(), (1, 0, 0)),
        (Retry(exc=ValueError()), (0, 1, 0)),
        (Terminated(), (0, 0, 1)),
        (Ignore(), (0, 0, 0)),
    ],
)
def test_failures_are_counted_by_their_kind(request_of_task, tally, error, counted):
    request_of_task.on_failure(SimpleNamespace(exception=error))
    assert (tally.failed, tally.retried, tally.revoked) == counted


def test_losses_are_counted_in_the_message_and_bounded(request_of_task, tally, monkeypatch):
    monkeypatch.setattr(Request, "_retry_worker_lost", Mock(return_value=True))
    answers = [request_of_task._retry_worker_lost(WorkerLostError(), None) for _ in range(MOST_LOSSES + 2)]
    assert answers == [True] * MOST_LOSSES + [False] * 2
    assert request_of_task._context.headers == {LOST: MOST_LOSSES}
    assert tally.retried == MOST_LOSSES


def test_one_class_for_one_base():
    assert fleet_request("celery.worker.request:Request") is fleet_request(Request)
    assert fleet_request(fleet_request(Request)) is fleet_request(Request)
