"""Ends of tasks in the worker's main process: told, counted, and followed by what has to follow."""

import logging
import os
import subprocess
from types import SimpleNamespace

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery, signals
from celery.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.worker import state as celery_state
from celery.worker.request import Request, create_request_cls

from celery_fleet.policy.annotations import TaskAnnotations
from celery_fleet.policy.routing import Router, task_queues
from celery_fleet.service import request as module
from celery_fleet.service.environment import Environment
from celery_fleet.service.request import FleetRequest, fleet_request
from celery_fleet.service.state import Tally
from celery_fleet.service.tasklog import task_context
from celery_fleet.store.headers import LOST, SINCE
from unit.runtime.topologies import make

POLICY = {"max_retries": 3, "delay": 5, "backoff": 2, "max_delay": 15, "jitter": False}


@pytest.fixture
def tally(monkeypatch):
    fresh = Tally()
    monkeypatch.setattr(module, "tally", fresh)
    return fresh


class Recorder(list):
    """What the recorder was told: (what, ...)."""

    held = False

    def holds(self, _):
        return self.held

    def __getattr__(self, name):
        def tell(request, *rest):
            assert isinstance(request, FleetRequest)
            request.is_dead |= name == "failed"
            self.append((name, *rest))

        return tell


@pytest.fixture
def told(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(module, "recorder", recorder)
    return recorder


def nothing():
    """A task."""


class App(Celery):
    """An app whose messages and acknowledgements are written down instead of sent."""

    def __init__(self, retry=POLICY, **queue):
        super().__init__("t", broker="memory://", backend="cache+memory://", set_as_current=False)
        topology = make(celery_queues={"celery": queue}, celery_task_routes=[], celery_retry=retry)
        self.conf.update(
            task_queues=task_queues(topology),
            task_routes=[Router(self, topology)],
            task_annotations=[TaskAnnotations(topology, fleet_request)],
            task_acks_late=True,
            task_retry_on_worker_lost=True,
        )
        self.events = []
        self.amqp.send_task_message = self._sent

    def _sent(self, _, name, message, **options):
        headers = message.headers | (options.get("headers") or {})
        self.events.append(("sent", name, headers, options))

    def request(self, name="t", carried=4, embed=None, **headers):
        if name not in self.tasks:
            self.task(nothing, name=name, shared=False)
        message = SimpleNamespace(
            headers={"id": "abc123", "task": name, "root_id": "r", "retries": 0, **headers},
            properties={"priority": carried},
            delivery_info={"exchange": "", "routing_key": "celery"},
            body=b"",
            content_type="application/json",
            content_encoding="utf-8",
            payload=([], {}, embed or {}),
        )
        task = self.tasks[name]
        pool = SimpleNamespace(apply_async=None)
        found = create_request_cls(task.Request, task, pool, "h", None, app=self)
        return found(
            message,
            app=self,
            task=task,
            on_ack=lambda *_: self.events.append(("acknowledged",)),
            on_reject=lambda *args: self.events.append(("rejected", args[-1])),
        )

    @property
    def state(self):
        return self.backend.get_state("abc123")

    @property
    def order(self):
        return [event[0] for event in self.events]

    @property
    def sent(self):
        return [event for event in self.events if event[0] == "sent"]


@pytest.fixture
def make_app(told, tally):
    made = []

    def make_one(*args, **options):
        made.append(App(*args, **options))
        return made[-1]

    yield make_one
    for app in made:
        app.backend.delete(app.backend.get_key_for_task("abc123"))
        app.close()


@pytest.fixture
def app(make_app):
    return make_app()


def info(error):
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def test_what_celery_logs_of_a_task_in_main_has_its_fields(app, monkeypatch):
    record = logging.LogRecord("celery", logging.WARNING, __file__, 1, "Soft time limit exceeded", None, None)
    seen = []
    monkeypatch.setattr(Request, "on_timeout", lambda *_: seen.append(task_context(record, Environment())))
    app.request().on_timeout(soft=True, timeout=1)
    assert seen[0]["TASK_ID"] == "abc123"
    assert "TASK_ID" not in task_context(record, Environment())


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ValueError(), (1, 0, 0)),
        (Retry(exc=ValueError()), (0, 1, 0)),
        (Terminated(), (0, 0, 1)),
        (Ignore(), (0, 0, 0)),
        (Reject("no"), (1, 0, 0)),
        (Reject("no", requeue=True), (0, 0, 0)),
    ],
)
def test_ends_are_counted_by_their_kind(app, tally, error, counted):
    app.request().on_failure(info(error), return_ok=True)
    assert (tally.failed, tally.retried, tally.revoked) == counted


def test_the_recorder_is_told_of_the_life_of_a_task(app, told):
    request = app.request()
    request.on_accepted(1, 1.0)
    request.on_success((False, "result", 1.5))
    assert told == [("received",), ("started",), ("succeeded", 1.5)]


def test_the_recorder_is_told_of_retries_and_of_revocations(app, told):
    error = ConnectionError("no")
    app.request().on_success((True, info(Retry(exc=error, when=5)), 1.5))
    app.request().on_failure(info(Terminated(15)))
    (retried,) = [each for each in told if each[0] == "retried"]
    assert repr(retried[1]) == repr(error)
    assert retried[2].tzinfo
    assert told[-1] == ("revoked",)


@pytest.mark.parametrize(
    ("error", "headers", "reason"),
    [
        (ValueError(), {}, "failed"),
        (ValueError(), {"retries": 2}, "failed"),
        (ValueError(), {"retries": 3}, "exhausted"),
        (ConnectionError(), {"retries": 1, SINCE: 1.0}, "exhausted"),
        (MaxRetriesExceededError(), {}, "exhausted"),
        (Reject("no"), {}, "rejected"),
        (SoftTimeLimitExceeded(), {}, "time_limit"),
    ],
)
def test_a_final_failure_is_recorded_with_its_reason_before_the_message_is_gone(
    app, told, error, headers, reason
):
    request, seen = app.request(**headers), []
    request._on_ack = request._on_reject = lambda *_: seen.extend(told[1:])
    request.on_failure(info(error), return_ok=True)
    ((what, exc, einfo, why),) = seen
    assert (what, type(exc), why) == ("failed", type(error), reason)
    assert einfo.traceback


def test_what_is_put_back_is_no_failure(app, told):
    app.request().on_failure(info(Reject("later", requeue=True)), return_ok=True)
    app.request().on_failure(info(Ignore()), return_ok=True)
    assert {each[0] for each in told} == {"received", "ignored"}


@pytest.mark.parametrize("error", [ValueError(), Reject("no")])
def test_a_message_whose_dead_letter_is_not_stored_yet_stays(app, told, error):
    request = app.request()
    told.held = True
    request.on_failure(info(error), return_ok=True)
    assert not app.events
    told.held = False
    request.acknowledge()
    assert app.order == ["acknowledged"]


def test_p4_a_task_that_exceeds_its_hard_limit_is_retried_before_its_message_is_acknowledged(
    app, told, tally
):
    states, logged = [], []
    signals.task_retry.connect(
        lambda request, reason, **_: logged.append((request.id, str(reason))), weak=False
    )
    app.backend.mark_as_failure = lambda *_, **__: states.append("FAILURE")
    request = app.request(retries=1, carried=7)
    request.worker_pid = os.getpid()
    request.on_failure(info(TimeLimitExceeded(3)))
    assert not app.events
    request.on_timeout(soft=False, timeout=3)
    assert app.order == ["sent", "acknowledged"]
    _, name, headers, options = app.sent[0]
    assert (name, headers["id"], headers["retries"], options["priority"]) == ("t", "abc123", 2, 7)
    assert headers["eta"]
    assert (app.state, states) == ("RETRY", [])
    assert (told[-1][0], type(told[-1][1])) == ("retried", TimeLimitExceeded)
    assert (tally.retried, tally.failed) == (1, 0)
    assert logged == [("abc123", "Retry in 10.0s: TimeLimitExceeded(3)")]
    signals.task_retry.receivers.clear()


def test_a_killed_process_is_given_a_second_to_be_gone(make_app):
    app = make_app(POLICY | {"delay": 0})
    app.request().on_timeout(soft=False, timeout=3)
    assert app.sent[0][2]["eta"]


@pytest.mark.parametrize(
    ("policy", "headers", "reason"),
    [
        ({"exceptions": ["ConnectionError"]}, {}, "time_limit"),
        ({}, {"retries": 3}, "exhausted"),
        ({"max_age": 60}, {SINCE: 1.0, "retries": 1}, "exhausted"),
        ({"max_retries": 0}, {}, "time_limit"),
    ],
)
def test_a_hard_limit_that_is_not_retried_is_one_failure(make_app, told, tally, policy, headers, reason):
    app, failures = make_app(POLICY | policy), []
    signals.task_failure.connect(lambda task_id, **_: failures.append(task_id), weak=False)
    request = app.request(**headers)
    request.worker_pid = os.getpid()
    request.on_failure(info(TimeLimitExceeded(3)))
    request.on_timeout(soft=False, timeout=3)
    assert app.order == ["acknowledged"]
    assert (app.state, failures, tally.failed) == ("FAILURE", ["abc123"], 1)
    assert [each[-1] for each in told if each[0] == "failed"] == [reason]
    signals.task_failure.receivers.clear()


def gone():
    """The id of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_dead_process_whose_limit_passes_before_it_is_missed_is_a_loss(app):
    request = app.request()
    request.worker_pid = gone()
    request.on_failure(info(TimeLimitExceeded(3)))
    request.on_timeout(soft=False, timeout=3)
    assert app.order == ["sent", "acknowledged"]
    assert app.sent[0][2][LOST] == 1


@pytest.mark.parametrize("error", [WorkerLostError("gone"), SystemExit(1), MemoryError()])
def test_a_lost_task_is_sent_again_by_the_policy_and_counted_in_its_message(app, told, tally, error):
    app.request(retries=2).on_failure(info(error))
    assert app.order == ["sent", "acknowledged"]
    headers = app.sent[0][2]
    assert (headers["id"], headers["retries"], headers[LOST]) == ("abc123", 2, 1)
    assert headers["eta"]
    assert (app.state, told[-1][0], tally.retried) == ("RETRY", "retried", 1)


@pytest.mark.parametrize(("most", "reason"), [(4, "poison"), (1, "worker_lost")])
@pytest.mark.parametrize("max_retries", [0, "forever"])
def test_losses_are_bounded_whatever_the_retries(make_app, told, tally, most, reason, max_retries):
    app, losses, deliveries = make_app(POLICY | {"max_retries": max_retries}, max_deliveries=most), {}, 0
    for _ in range(10):
        before = len(app.sent)
        app.request(**losses).on_failure(info(WorkerLostError("gone")))
        deliveries += 1
        if len(app.sent) == before:
            break
        losses = {LOST: app.sent[-1][2][LOST]}
    assert deliveries == most
    assert app.order.count("acknowledged") == most
    assert (app.state, tally.failed) == ("FAILURE", 1)
    assert [each[-1] for each in told if each[0] == "failed"] == [reason]


def test_a_task_may_ask_not_to_be_sent_again(app, told):
    app.request()
    app.tasks["t"].retry_on_worker_lost = False
    app.request().on_failure(info(WorkerLostError("gone")))
    assert (app.sent, app.state) == ([], "FAILURE")
    assert told[-1][-1] == "worker_lost"


def test_a_task_that_had_succeeded_is_not_sent_again(app, told):
    app.backend.mark_as_done("abc123", 1)
    app.request().on_failure(info(WorkerLostError("gone")))
    assert (app.order, app.state) == (["acknowledged"], "SUCCESS")


def test_a_retry_that_cannot_be_published_puts_the_message_back(app, caplog):
    def fail(*_, **__):
        raise ConnectionError("redis is gone")

    app.amqp.send_task_message = fail
    app.request().on_failure(info(WorkerLostError("gone")))
    assert app.events == [("rejected", True)]
    assert "could not be published" in caplog.text


@pytest.mark.parametrize("end", ["time limit", "loss"])
def test_a_cold_stop_leaves_the_message_to_be_put_back(app, monkeypatch, end):
    monkeypatch.setattr(celery_state, "should_terminate", 1)
    if end == "loss":
        app.request().on_failure(info(WorkerLostError("gone")))
    else:
        app.request().on_timeout(soft=False, timeout=3)
    assert not app.events


def test_a_task_that_the_worker_has_ended_is_no_loss(app):
    request = app.request()
    request._already_cancelled = True
    request.on_failure(info(SystemExit(1)))
    assert not app.events


@pytest.mark.parametrize("end", ["time limit", "loss"])
def test_f3_errbacks_of_what_ends_in_main_inherit_its_priority(make_app, end):
    app = make_app(POLICY | {"max_retries": 0}, max_deliveries=1)
    app.request("told")
    embed = {"errbacks": [app.tasks["told"].si()]}
    request = app.request(carried=1, embed=embed)
    if end == "loss":
        request.on_failure(info(WorkerLostError("gone")))
    else:
        request.on_timeout(soft=False, timeout=3)
    ((_, name, _, options),) = app.sent
    assert (name, options["priority"]) == ("told", 1)


def test_one_class_for_one_base():
    assert fleet_request("celery.worker.request:Request") is fleet_request(Request)
    assert fleet_request(fleet_request(Request)) is fleet_request(Request)
