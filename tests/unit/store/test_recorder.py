import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import redis
from celery import Celery
from celery.utils.serialization import UnpickleableExceptionWrapper

from celery_fleet.service import consuming, recorder
from celery_fleet.service.recorder import Recorder
from celery_fleet.store.deadletters import DeadLetter

APP = Celery("x", set_as_current=False)


class Task:
    """As hashable as Celery's."""

    name = "app.a"

    def run(self) -> None:
        """Does nothing."""


class Request(SimpleNamespace):
    __hash__ = object.__hash__


def request(task_id="t1", **more):
    return Request(
        **{
            "id": task_id,
            "name": "app.a",
            "task": Task(),
            "args": [1],
            "kwargs": {},
            "app": APP,
            "hostname": "w",
            "argsrepr": "(1,)",
            "kwargsrepr": None,
            "eta": None,
            "request_dict": {"retries": 0},
            "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 4},
            "root_id": "r",
            "parent_id": None,
            "received_at": None,
            **more,
        }
    )


class Store:
    """Index and dead letters, that can be away."""

    def __init__(self):
        self.away = False
        self.refused = set()
        self.records = []
        self.letters = []
        self.withdrawn = set()

    def _check(self):
        if self.away:
            raise redis.ConnectionError("away")

    def write(self, batch):
        self._check()
        self.records += batch

    def add(self, letter):
        self._check()
        if letter.task_id in self.refused:
            raise redis.ResponseError("NOPERM")
        self.letters.append(letter.task_id)

    def withdraw(self, ids):
        self._check()
        self.withdrawn |= ids


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def found(store, monkeypatch):
    """A recorder whose thread does not run."""
    made = Recorder()
    monkeypatch.setattr(made, "_start", lambda: None)
    made.begin(APP, lambda: store, lambda: store)
    return made


def letter(task_id):
    return DeadLetter(task_id, "app.a", "celery", "failed")


def test_one_record_for_all_steps_of_a_task(found, store):
    task = request()
    found.note(task, "RECEIVED")
    found.note(task, "STARTED")
    found.note(task, "SUCCESS", 0.5)
    found.flush()
    (record,) = store.records
    assert (record.state, record.runtime, record.queue, record.args) == ("SUCCESS", 0.5, "celery", "(1,)")
    assert record.received <= record.started <= record.ended == record.at
    found.flush()
    assert len(store.records) == 1


def test_each_attempt_has_a_record(found, store):
    """The retry may run, and end, before the main process learns that its predecessor asked for it."""
    first, second = request(), request(request_dict={"retries": 1})
    found.note(first, "RECEIVED")
    found.note(second, "RECEIVED")
    found.note(second, "FAILURE", KeyError("k"))
    found.note(first, "RETRY", (ValueError("bad"), None))
    found.flush()
    retried, failed = store.records
    assert (retried.state, retried.retries, retried.error) == ("RETRY", 0, "ValueError: bad")
    assert (failed.state, failed.retries, failed.error) == ("FAILURE", 1, "KeyError: 'k'")
    assert retried.received
    assert failed.received


@pytest.mark.parametrize(
    ("more", "since"),
    [
        ({"request_dict": {"fleet_since": 5.0}}, 5.0),
        ({"request_dict": {"fleet_since": "odd"}}, "received"),
        ({"request_dict": {}}, "received"),
        ({"request_dict": {"fleet_since": 5.0, "retries": 1}}, "received"),
        ({"request_dict": {"fleet_since": 5.0, "retries": 1}, "eta": datetime.fromtimestamp(7, UTC)}, 7.0),
        ({"request_dict": {"fleet_since": 5.0, "fleet_lost": 1}}, "received"),
        ({"request_dict": {"fleet_since": 5.0}, "delivery_info": {"redelivered": True}}, "received"),
    ],
)
def test_from_when_an_attempt_waits(more, since, found, store):
    found.note(request(**more), "RECEIVED")
    found.flush()
    (record,) = store.records
    assert record.since == (record.received if since == "received" else since)


def test_while_the_store_is_away_the_oldest_records_go(found, store, monkeypatch):
    monkeypatch.setattr(recorder, "_MOST_RECORDS", 5)
    store.away = True
    for number in range(8):
        found.note(request(f"t{number}"), "RECEIVED")
    with pytest.raises(redis.ConnectionError):
        found.flush()
    store.away = False
    found.flush()
    assert [record.task_id for record in store.records] == [f"t{number}" for number in range(3, 8)]
    assert found.dropped == 3


def test_the_number_of_steps_is_bounded(store, monkeypatch):
    monkeypatch.setattr(recorder, "_MOST_STEPS", 5)
    found = Recorder()
    monkeypatch.setattr(found, "_start", lambda: None)
    found.begin(APP, lambda: store, lambda: store)
    for number in range(8):
        found.note(request(f"t{number}"), "RECEIVED")
    assert found.dropped == 3
    found.flush()
    assert len(store.records) == 5


def test_an_odd_task_does_not_stop_the_others(found, store):
    found.note(request("odd", delivery_info=None), "RECEIVED")
    found.note(request(), "RECEIVED")
    found.flush()
    assert [record.task_id for record in store.records] == ["t1"]
    assert found.dropped == 1


def test_a_letter_is_held_until_it_is_stored(found, store):
    done = []
    assert found.keep(letter("t1"), lambda: done.append("t1"))
    store.away = True
    assert not found.keep(letter("t2"), lambda: done.append("t2"))
    assert not found.keep(letter("t3"), lambda: done.append("t3"))
    assert set(found.held) == {"t2", "t3"}
    assert done == []
    store.away, store.refused = False, {"t2"}
    with pytest.raises(redis.ResponseError):
        found.flush()
    assert store.letters == ["t1", "t3"]
    assert done == ["t3"]
    store.refused = set()
    found.flush()
    assert (store.letters, done, found.held) == (["t1", "t3", "t2"], ["t3", "t2"], {})


def test_the_watchdog_knows_that_held_letters_hold_credit(found, store, monkeypatch):
    monkeypatch.setattr(recorder, "_recorder", found)
    worker = SimpleNamespace(
        pool=SimpleNamespace(_pool=None), consumer=SimpleNamespace(task_buckets={}), time_limit=None
    )
    assert consuming.holders(worker) == 0
    store.away = True
    found.keep(letter("t1"), lambda: None)
    assert consuming.holders(worker) == recorder.holding() == 1


def test_nothing_is_recorded_outside_of_a_worker(store):
    found = Recorder()
    found.note(request(), "RECEIVED")
    found.failed(request(), ValueError(), None, "failed")
    assert found.keep(letter("t1"), lambda: None)
    found.stop()
    assert store.letters == []


def test_a_success_that_was_delivered_again_withdraws_its_letter(found, store):
    found.note(request("t1"), "SUCCESS", 1.0)
    found.note(request("t2", delivery_info={"routing_key": "celery", "redelivered": True}), "SUCCESS", 1.0)
    found.flush()
    assert store.withdrawn == {"t2"}


def test_a_stopping_worker_waits_for_the_store_for_some_seconds(found, store, monkeypatch):
    monkeypatch.setattr(recorder, "_STOP_TIME", 0.3)
    store.away = True
    found.note(request(), "RECEIVED")
    begun = time.monotonic()
    found.stop()
    assert 0.3 <= time.monotonic() - begun < 10
    store.away = False
    monkeypatch.setattr(recorder.os, "getpid", lambda: -1)
    found.stop()
    assert store.records == []  # a child writes nothing of its parent's
    monkeypatch.undo()
    found.stop()
    assert len(store.records) == 1


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("bad"), ("ValueError", "bad")),
        (UnpickleableExceptionWrapper("app", "OwnError", ("a", "b"), "OwnError(a, b)"), ("OwnError", "a b")),
    ],
)
def test_what_is_told_of_an_error(error, told):
    assert recorder._told(error) == told


def test_an_error_that_cannot_speak():
    assert recorder._told(MuteError())[0] == "MuteError"


def by_hand(x, *, y=1):
    return x, y


@pytest.mark.parametrize(
    ("args", "kwargs", "fits"),
    [([1], {}, True), ([1], {"y": 2}, True), ([], {}, False), ([1, 2], {}, False), ([1], {"z": 1}, False)],
)
def test_whether_a_task_can_be_called_so(args, kwargs, fits):
    task = SimpleNamespace(run=by_hand)
    assert recorder._fits(SimpleNamespace(task=task, args=args, kwargs=kwargs)) == fits


def test_the_queue_of_a_message():
    app = Celery("x", set_as_current=False)
    app.conf.task_create_missing_queues = False
    app.amqp.queues.add("mine", exchange="e", exchange_type="direct", routing_key="k")
    assert recorder.queue_name(app, {"exchange": "e", "routing_key": "k"}) == "mine"
    assert recorder.queue_name(app, {"exchange": "", "routing_key": "q"}) == "q"
    assert recorder.queue_name(app, {"exchange": "e", "routing_key": "other"}) == "other"
    assert recorder.queue_name(app, {}) == ""
