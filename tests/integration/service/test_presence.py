"""What workers and Beat say of themselves, for who looks on."""

import os
import signal
import time
from pathlib import Path

import pytest

from celery_fleet.store.catalogue import Catalogue, Parameter, misfits
from celery_fleet.store.connection import state_client
from celery_fleet.store.presence import FRESH, Presences
from celery_fleet.store.schedules import Schedules
from integration.support import eventually

POOLS = ("prefork", "threads", "gevent", "solo")


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_says_what_it_does_while_it_is_busy(pool, environment, services, producer, record):
    settings = environment()
    module = producer(settings)
    presences = Presences(state_client(module.app))
    before = time.time()
    worker = services.worker(settings, pool=pool, concurrency=1 if pool == "solo" else 2).wait_ready()
    (found,) = eventually(presences.all, what="a word of the worker")
    assert found.node.startswith("default@")
    assert (found.pid, found.pool, found.kind) == (worker.process.pid, "default", pool)
    assert (found.concurrency, found.release) == (1 if pool == "solo" else 2, "r1")
    assert before <= found.started_at <= found.at
    assert 10 * 2**20 < found.memory < 2**30
    assert 10 * 2**20 < found.largest_child < 2**30
    assert found.running == ()

    sent = module.silent.delay("long", 3)
    record.wait("begin", "long")
    (found,) = eventually(lambda: [each for each in presences.all() if each.running], what="the running task")
    (running,) = found.running
    assert (running.task_id, running.name, running.queue) == (sent.id, "serviceapp.silent", "celery")
    assert abs(time.time() - running.started) < 4
    assert (found.busy, found.queues) == (1, ("celery",))
    # Though its main loop is busy, it goes on to speak.
    eventually(lambda: presences.all()[0].at > found.at, patience=3.5, what="another word")
    record.wait("end", "long")
    eventually(lambda: presences.all()[0].done == 1, what="the count")
    assert presences.all()[0].busy == 0

    worker.stop()
    assert presences.all() == []


def test_who_is_killed_leaves_its_last_word(environment, services, producer):
    settings = environment()
    presences = Presences(state_client(producer(settings).app))
    worker = services.worker(settings).wait_ready()
    eventually(presences.all, what="a word of the worker")
    worker.kill()
    (found,) = presences.all()
    again = services.worker(settings).wait_ready()
    eventually(lambda: presences.all()[0].pid == again.process.pid, what="a word of its successor")
    assert found.at < presences.all()[0].started_at
    again.stop(signal.SIGQUIT)
    assert presences.all() == []


def test_redis_may_be_away(environment, services, own_redis_server, producer):
    services.server = own_redis_server
    own_redis_server.start()
    settings = environment()
    presences = Presences(state_client(producer(settings).app))
    worker = services.worker(settings).wait_ready()
    eventually(presences.all, what="a word of the worker")
    own_redis_server.stop()
    worker.wait_log("The worker cannot say what it does")
    own_redis_server.start()
    eventually(lambda: presences.all()[0].at > time.time() - FRESH, what="a word of the worker")
    assert worker.log.count("The worker cannot say what it does") == 1


def test_the_catalogue_has_the_tasks_with_their_parameters(environment, services, producer):
    settings = environment()
    catalogue = Catalogue(state_client(producer(settings).app))
    services.worker(settings, pool="threads").wait_ready()
    eventually(catalogue.all, what="the catalogue")
    found = catalogue.all()
    assert set(found) == {
        f"serviceapp.{name}" for name in ("work", "silent", "spin", "pid", "killed", "grow")
    }
    assert found["serviceapp.work"].parameters == (Parameter("tag"), Parameter("seconds"))
    spin = found["serviceapp.spin"]
    assert spin.doc == "Works without giving way: under gevent, nothing else of its process runs meanwhile."
    assert (spin.release, spin.pools, spin.stale, spin.queue) == ("r1", ("default",), False, "celery")
    assert misfits(spin, ["a"], {}) == ["seconds is missing."]


BEAT = {
    "celery_beat_schedule": {
        "often": {"task": "serviceapp.pid", "schedule": 1, "queue": "celery"},
        "nightly": {"task": "serviceapp.grow", "schedule": "0 4 * * *", "args": [1]},
    }
}


def test_beat_says_what_it_sent_and_will_send(environment, services, producer):
    settings = environment(**BEAT)
    schedules = Schedules(state_client(producer(settings).app))
    file = Path(services.directory) / "schedule"
    command = ["beat", f"--schedule={file}", "-l", "info"]
    before = time.time()
    beat = services.start(command, settings).wait_ready()

    def entry(name):
        state = schedules.read()
        return next((each for each in state.entries if each.name == name), None) if state else None

    def runs():
        return entry("often").runs if entry("often") else 0

    eventually(lambda: runs() >= 2, what="the second run")
    often, nightly = entry("often"), entry("nightly")
    assert schedules.read().pid == beat.process.pid
    assert (often.task, often.schedule, often.queue) == ("serviceapp.pid", "every 1s", "celery")
    assert before <= often.last_run <= time.time()
    assert often.last_run < often.next_run < often.last_run + 1.5
    assert (nightly.schedule, nightly.args, nightly.runs, nightly.last_run) == ("0 4 * * *", (1,), 0, None)
    assert 0 < nightly.next_run - time.time() <= 86400
    assert time.gmtime(nightly.next_run + 1)[3:5] == (4, 0)

    def sent():
        return beat.log.count("Sending due task often")

    beat = _restart_beat(beat, signal.SIGTERM, schedules, services, command, settings)
    # Killed, it does not save its schedule; what it had sent is known nevertheless.
    _restart_beat(beat, signal.SIGKILL, schedules, services, command, settings)
    assert entry("nightly").runs == 0


def _restart_beat(beat, end, schedules, services, command, settings):
    def often():
        return next(each for each in schedules.read().entries if each.name == "often")

    os.kill(beat.process.pid, end)
    beat.process.wait(30)
    last = often()
    assert last.runs >= 2
    again = services.start(command, settings).wait_ready()
    eventually(lambda: schedules.read().pid == again.process.pid, what="a word of its successor")
    found = often()
    # Between its last word and its end it may have sent one more.
    assert last.runs <= found.runs <= last.runs + again.log.count("Sending due task often") + 1
    assert found.last_run >= last.last_run
    return again
