"""A stop in bounded time, decided from round to round."""

import signal
from types import SimpleNamespace

import pytest

from celery_fleet.service import stop as module
from celery_fleet.service.stop import GRACE, WITHOUT_BROKER, Stop


class ProcessEndedError(Exception):
    """The process would have ended here."""


@pytest.fixture
def done(monkeypatch):
    """What is done to the process, one by one."""
    events = []

    def end(code):
        raise ProcessEndedError

    monkeypatch.setattr(module.os, "kill", lambda _pid, sig: events.append(sig))
    monkeypatch.setattr(module.os, "_exit", end)
    monkeypatch.setattr(module.native, "start_thread", lambda _: None)
    monkeypatch.setattr(module.logging, "shutdown", lambda: None)
    monkeypatch.setattr(Stop, "_restore", lambda _: events.append("put back") or 1)
    return events


def worker(kind):
    pool = type("TaskPool", (), {"__module__": f"celery.concurrency.{kind}"})()
    return SimpleNamespace(pool=pool)


def run(stop, seconds, answers=True):
    """Looks each second; returns the second in which the process ended, None if it has not."""
    for now in range(seconds + 1):
        try:
            stop.look(1000.0 + now, lambda: answers)
        except ProcessEndedError:
            return now
    return None


def test_tasks_have_their_time(done):
    assert run(Stop(worker("prefork"), 60), 59) is None
    assert run(Stop(worker("thread"), None), 3600) is None, "without a timeout, all the time there is"
    assert done == []


def test_a_prefork_pool_ends_its_processes_and_if_it_cannot_its_tasks_are_put_back(done):
    assert run(Stop(worker("prefork"), 60), 60 + int(GRACE)) is None
    assert done == [signal.SIGQUIT]
    done.clear()
    assert run(Stop(worker("prefork"), 60), 3600) == 60 + GRACE + 1
    assert done == [signal.SIGQUIT, "put back"]


@pytest.mark.parametrize("kind", ["thread", "gevent", "solo"])
def test_whose_tasks_share_the_process_puts_them_back_and_ends(kind, done):
    assert run(Stop(worker(kind), 60), 3600) == 60
    assert done == ["put back"], "no signal: Celery's handler would lose them, or let them run on"


@pytest.mark.parametrize("kind", ["prefork", "gevent"])
def test_a_broker_that_does_not_answer_is_not_waited_for(kind, done):
    ended = run(Stop(worker(kind), 3600), 3600, answers=False)
    assert ended is not None
    assert WITHOUT_BROKER < ended <= WITHOUT_BROKER + 2
    assert done == [], "nothing can be put back; Redis keeps it"
