"""Cancellation, in every state of a task, across restarts of its worker."""

import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import chord
from celery.worker import state as celery_state

from celery_fleet.delivery import pending
from celery_fleet.delivery.keys import Keys
from celery_fleet.service import cancel as module
from celery_fleet.service.cancel import Cancellation, cancel, mark
from celery_fleet.store.connection import broker_client
from celery_fleet.store.presence import Presences
from integration.store.conftest import VARIABLES
from integration.support import eventually

PATIENCE = 60
KEYS = Keys()
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # of Celery, see its next release
DELIVERIES = ["atomic", "stock"]


def state(fleet, result):
    return fleet.app.AsyncResult(result.id).state


def known(fleet, result):
    """The state in the index."""
    found = fleet.index.get(result.id)
    return found and found.state


@pytest.fixture(params=DELIVERIES)
def settings(request, environment):
    return environment({**VARIABLES, "celery_delivery": request.param})


def test_waiting_tasks_never_run(settings, services, fleet_of, record):
    fleet = fleet_of(settings)
    tasks = fleet.tasks
    queued = tasks.good.delay("queued")
    answer = cancel(fleet.app, queued.id)
    assert (answer.state_before, answer.mark, answer.possible, answer.revoked) == ("PENDING", True, True, ())
    assert state(fleet, queued) == "REVOKED"
    again = cancel(fleet.app, queued.id)
    assert (again.state_before, again.mark, again.possible) == ("REVOKED", True, True)

    worker = services.worker(settings, concurrency=1).wait_ready()
    busy = tasks.sleep.delay(1)
    eventually(lambda: f"started {busy.id}" in record.read_text(), PATIENCE, "the first task")
    prefetched = tasks.good.delay("prefetched")
    far = tasks.good.apply_async(["far"], countdown=4)
    for result in (prefetched, far):
        answer = cancel(fleet.app, result.id, terminate=True)
        assert answer.possible
        assert state(fleet, result) == "REVOKED"
    # The worker forgets what it heard; the marks stay.
    worker.stop()
    services.worker(settings, concurrency=1).wait_ready()
    last = tasks.good.delay("last")
    assert last.get(timeout=PATIENCE) == 1
    eventually(lambda: known(fleet, far) == "REVOKED", PATIENCE, "the end of the last task")
    eventually(lambda: known(fleet, queued) == "REVOKED", PATIENCE, "the end of the first task")
    ran = record.read_text()
    assert "last" in ran
    assert not any(text in ran for text in ("queued", "prefetched", "far"))
    assert fleet.letters.count() == 0

    answer = cancel(fleet.app, last.id)
    assert (answer.state_before, answer.mark, answer.possible) == ("SUCCESS", False, False)


def messages(fleet):
    """How many wait, parked ones too."""
    client = broker_client(fleet.app)
    keys = [KEYS.queue(queue, step) for queue in ("celery", "other") for step in range(10)]
    return sum(map(client.llen, keys)) + client.zcard(KEYS.parked)


def is_marked(fleet, task_id):
    return broker_client(fleet.app).zscore(KEYS.cancelled, task_id) is not None


def test_what_waits_is_taken_out_at_once_though_no_worker_is_there(environment, fleet_of):
    fleet = fleet_of(environment())
    queued = fleet.tasks.good.apply_async(["a"], {"b": 2}, queue="other", priority=9)
    parked = fleet.tasks.good.apply_async(countdown=600)
    began = time.monotonic()
    answers = [cancel(fleet.app, result.id, terminate=True, timeout=30) for result in (queued, parked)]
    assert time.monotonic() - began < 5
    assert messages(fleet) == 0
    for answer, result in zip(answers, (queued, parked), strict=True):
        assert (answer.removed, answer.possible, answer.known, answer.mark) == (True, True, True, True)
        assert state(fleet, result) == "REVOKED"
        assert is_marked(fleet, result.id)
    record = fleet.index.get(queued.id)
    assert (record.state, record.name, record.queue, record.priority) == (
        "REVOKED",
        "endings.good",
        "other",
        1,
    )
    assert (record.args, record.kwargs) == ("['a']", "{'b': 2}")
    assert record.ended
    assert known(fleet, parked) == "REVOKED"
    twice = cancel(fleet.app, queued.id)
    assert (twice.state_before, twice.removed, twice.possible) == ("REVOKED", False, True)
    assert fleet.index.get(queued.id).at == record.at


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_of_what_nobody_knows_no_mark_stays(delivery, environment, fleet_of):
    fleet = fleet_of(environment({**VARIABLES, "celery_delivery": delivery}))
    fleet.tasks.good.delay()
    answer = cancel(fleet.app, "never-sent", terminate=True)
    assert (answer.known, answer.mark, answer.possible, answer.state_before) == (
        False,
        False,
        False,
        "PENDING",
    )
    assert broker_client(fleet.app).keys("fleet:cancelled*") == []
    assert state(fleet, fleet.app.AsyncResult("never-sent")) == "PENDING"
    assert fleet.index.get("never-sent") is None
    assert messages(fleet) == 1


def test_what_a_worker_has_to_drop(environment, services, fleet_of, record, monkeypatch):
    """What lies too deep to be found, and members of chords, which have to be told."""
    monkeypatch.setattr(pending, "MOST", 0)
    settings = environment()
    fleet = fleet_of(settings)
    deep = fleet.tasks.good.delay("deep")
    began = time.monotonic()
    answer = cancel(fleet.app, deep.id, timeout=30)
    assert time.monotonic() - began < 5
    monkeypatch.undo()
    joined = chord([fleet.tasks.good.s("first"), fleet.tasks.good.s("second")])(fleet.tasks.good.s())
    member = cancel(fleet.app, joined.parent.results[0].id)
    for each in (answer, member):
        assert (each.removed, each.possible, each.known) == (False, True, True)
        assert fleet.index.get(each.task_id).state == "REVOKED"
    assert messages(fleet) == 3
    services.worker(settings, concurrency=1).wait_ready()
    eventually(lambda: state(fleet, joined) == "FAILURE", PATIENCE, "the end of the chord")
    assert "second" in record.read_text()
    assert "deep" not in record.read_text()
    assert "first" not in record.read_text()


def test_a_task_in_retry_and_those_that_are_over(environment, services, fleet_of, record):
    settings = environment()
    fleet = fleet_of(settings)
    services.worker(settings, concurrency=1).wait_ready()
    retried, failed = fleet.tasks.later.delay(), fleet.tasks.fail.delay("x")
    eventually(lambda: known(fleet, retried) == "RETRY" and state(fleet, failed) == "FAILURE", PATIENCE)
    answer = cancel(fleet.app, retried.id)
    assert (answer.state_before, answer.removed, answer.possible) == ("RETRY", True, True)
    assert state(fleet, retried) == known(fleet, retried) == "REVOKED"
    assert messages(fleet) == 0
    over = cancel(fleet.app, failed.id)
    assert (over.state_before, over.mark, over.possible, over.known) == ("FAILURE", False, False, True)
    assert not is_marked(fleet, failed.id)
    assert record.read_text().count("tried") == 1


@pytest.mark.parametrize("pool", ["prefork", "gevent", "threads", "solo"])
def test_what_runs_is_ended_where_the_pool_can(pool, environment, services, fleet_of, record):
    settings = environment()
    fleet = fleet_of(settings)
    services.worker(settings, pool=pool, concurrency=2).wait_ready()
    result = fleet.tasks.tell.delay(600 if pool in ("prefork", "gevent") else 4)
    eventually(lambda: result.id in record.read_text(), PATIENCE, "the task")
    pid = int(record.read_text().split()[-1])
    presences = Presences(fleet.client)
    eventually(lambda: any(each.kind == pool for each in presences.all()), PATIENCE, "the word of the worker")
    began = time.monotonic()
    answer = cancel(fleet.app, result.id, terminate=True, timeout=30)
    assert time.monotonic() - began < 15, "it waits for no one else"
    assert (answer.state_before, answer.mark, answer.known) == ("STARTED", True, True)
    if pool in ("threads", "solo"):
        assert (len(answer.unable), answer.unable_kinds, answer.possible) == (1, (pool,), False)
        assert result.get(timeout=PATIENCE) is None
        assert f"ended {result.id}" in record.read_text()
        return
    assert (len(answer.terminated), answer.possible, answer.unable) == (1, True, ())
    eventually(lambda: state(fleet, result) == "REVOKED", PATIENCE, "the end")
    eventually(lambda: known(fleet, result) == "REVOKED", PATIENCE, "the record")
    if pool == "prefork":
        eventually(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE, "the end of its process")
    assert fleet.tasks.good.delay().get(timeout=PATIENCE) == 1
    assert "ended" not in record.read_text()


def test_running_tasks(environment, services, fleet_of, record):
    settings = environment()
    fleet = fleet_of(settings)
    services.worker(settings, concurrency=2).wait_ready()
    spared, ended = fleet.tasks.sleep.delay(2.5), fleet.tasks.sleep.delay(60)
    for result in (spared, ended):
        eventually(lambda result=result: f"started {result.id}" in record.read_text(), PATIENCE, "the task")
    answer = cancel(fleet.app, spared.id)
    assert (answer.state_before, answer.mark, answer.possible) == ("STARTED", True, False)
    answer = cancel(fleet.app, ended.id, terminate=True, timeout=4)
    assert (answer.state_before, answer.mark, answer.possible) == ("STARTED", True, True)
    assert len(answer.terminated) == 1
    eventually(lambda: state(fleet, ended) == "REVOKED", PATIENCE, "the end")
    assert fleet.app.AsyncResult(spared.id).get(timeout=PATIENCE) is None
    eventually(lambda: known(fleet, ended) == "REVOKED", PATIENCE, "the record")
    assert f"ended {ended.id}" not in record.read_text()
    assert fleet.letters.count() == 0


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo", "prefork"])
def test_a_task_that_looks_ends_early(pool, environment, services, fleet_of, record):
    settings = environment()
    fleet = fleet_of(settings)
    services.worker(settings, pool=pool, concurrency=2).wait_ready()
    looking = fleet.tasks.patient.delay(30)
    eventually(lambda: f"started {looking.id}" in record.read_text(), PATIENCE, "the task")
    answer = cancel(
        fleet.app, looking.id, terminate=pool == "threads", timeout=4 if pool == "threads" else 0.1
    )
    assert answer.state_before == "STARTED"
    assert len(answer.unable) == (pool == "threads")
    eventually(lambda: state(fleet, looking) == "REVOKED", PATIENCE, "the end")
    eventually(lambda: known(fleet, looking) == "REVOKED", PATIENCE, "the record")
    assert fleet.tasks.good.delay().get(timeout=PATIENCE) == 1
    assert "ended" not in record.read_text()


def test_what_a_killed_worker_held_is_not_run_again(environment, services, fleet_of, record):
    """Running, prefetched and parked tasks; the worker that comes back knows only the marks."""
    settings = environment({**VARIABLES, "celery_recovery_timeout": 5})
    fleet = fleet_of(settings)
    worker = services.worker(settings, concurrency=1).wait_ready()
    running = fleet.tasks.sleep.delay(60)
    eventually(lambda: f"started {running.id}" in record.read_text(), PATIENCE, "the task")
    waiting, far = fleet.tasks.good.delay("waiting"), fleet.tasks.good.apply_async(["far"], countdown=3)
    time.sleep(0.5)
    worker.process.send_signal(signal.SIGSTOP)  # it hears of nothing any more
    for result in (running, waiting, far):
        cancel(fleet.app, result.id, terminate=True, timeout=0.1)
    worker.process.kill()
    worker.process.wait()
    services.worker(settings, concurrency=1).wait_ready()
    for result in (running, waiting, far):
        eventually(lambda result=result: state(fleet, result) == "REVOKED", PATIENCE, "the end")
    assert fleet.tasks.good.delay("last").get(timeout=PATIENCE) == 1
    assert "waiting" not in record.read_text()
    assert "far" not in record.read_text()
    assert record.read_text().count(running.id) == 1


class Held:
    """A request that a worker holds, in a pool that can end its tasks or not."""

    def __init__(self, can_be_ended=True):
        self.can_be_ended = can_be_ended
        self.ended = False

    def terminate(self, *_, **__):
        if not self.can_be_ended:
            raise NotImplementedError
        self.ended = True


def test_a_worker_that_was_away_learns_what_was_cancelled(environment, fleet_of):
    """As when its connection was lost: it has not heard of it."""
    fleet = fleet_of(environment())
    held = {name: Held(name != "thread") for name in ("waiting", "spared", "ended", "thread", "other")}
    for name in held:
        if name != "other":
            mark(fleet.app, name, terminate=name in ("ended", "thread"))
    celery_state.requests.update(held)
    celery_state.active_requests.update(held[name] for name in ("spared", "ended", "thread", "other"))
    try:
        Cancellation.for_delivery("atomic")(SimpleNamespace(steps=[])).start(
            SimpleNamespace(app=fleet.app, pool=None)
        )
        assert set(held) & set(celery_state.revoked) == {"waiting", "spared", "ended", "thread"}
        assert [name for name, request in held.items() if request.ended] == ["ended"]
    finally:
        celery_state.reset_state()


def test_what_redis_refuses_does_not_stop_the_worker(environment, fleet_of, monkeypatch):
    fleet = fleet_of(environment())
    celery_state.requests["t1"] = Held()
    module.broker_client(fleet.app).set("fleet:cancelled", "no sorted set")
    try:
        for delivery in ("atomic", "stock"):
            step = Cancellation.for_delivery(delivery)(SimpleNamespace(steps=[]))
            step.start(SimpleNamespace(app=fleet.app, pool=None))
        module.learn_mark("t1")
        assert "t1" not in celery_state.revoked
    finally:
        celery_state.reset_state()
        monkeypatch.setattr(module, "_app", None)
