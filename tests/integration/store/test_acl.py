"""The stores with the rights that role redis gives."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from celery_fleet.delivery import cancellation
from celery_fleet.store.audit import Audit
from celery_fleet.store.catalogue import Catalogue, TaskType
from celery_fleet.store.deadletters import DeadLetter, DeadLetters
from celery_fleet.store.figures import Figures
from celery_fleet.store.index import TaskIndex, TaskRecord
from celery_fleet.store.presence import Presence, Presences
from celery_fleet.store.schedules import BeatState, Schedules
from integration.test_redis_acl import Broker

PRESENCE = Presence(
    node="default@a", host="a", pid=7, pool="default", kind="solo", concurrency=1, queues=(), busy=0, done=0, failed=0,
    started_at=1.0, release="r1", memory=1, largest_child=1, running=(), at=time.time(),
)  # fmt: skip


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


def everything(client: redis.Redis) -> None:
    letters = DeadLetters(client, 1, 100)
    letters.add(DeadLetter("t1", "a", "q", "failed"))
    letters.add(DeadLetter("t2", "a", "q", "failed"))
    letters.settle(letters.claim("t2"), "t3", "anna")
    letters.withdraw(["t2"])
    letters.purge()
    index = TaskIndex(client, 1, 100)
    index.write([TaskRecord(f"t{n}", "SUCCESS", 1.0, name="a", queue="q") for n in range(3)])
    Audit(client).add("anna", "act", "t1")
    Figures(client).sample(time.time(), {"q": (1, 2, None)})
    Presences(client).write(PRESENCE)
    Presences(client).prune(time.time())
    Catalogue(client).write([TaskType("a", pools=("default",))], "r1", now=1.0)
    Presences(client).remove("nobody")
    reading(client)


def reading(client: redis.Redis) -> None:
    letters, index = DeadLetters(client, 1, 100), TaskIndex(client, 1, 100)
    letters.list(name="a", queue="q", text="x")
    letters.get("t1")
    letters.counts()
    letters.totals()
    index.search(name="a", state="SUCCESS", text="x")
    index.get("t1")
    index.count(state="SUCCESS")
    index.totals()
    index.counts()
    index.get_many(["t1"])
    Audit(client).list()
    figures = Figures(client)
    assert figures.totals().succeeded == 3
    figures.window(60, 10.0)
    figures.by_name()
    figures.worker_errors()
    figures.series(0, 60, 10)
    assert Presences(client).all() == [PRESENCE]
    Catalogue(client).all()
    Schedules(client).read()


def test_workers_and_operators_may_do_it_all_and_clients_may_look(broker: Broker) -> None:
    with broker.as_user("worker", 2) as worker, broker.as_user("worker") as marks:
        everything(worker)
        cancellation.cancel(marks, ["t1"])
        assert cancellation.cancelled(marks, ["t1"]) == {"t1"}
    with broker.as_user("client", 2) as client:
        reading(client)
    assert broker.refused() == []


def test_beat_may_tell_what_it_sends(broker: Broker) -> None:
    state = BeatState(1.0, "h", 1, ())
    with broker.as_user("beat", 2) as beat:
        Schedules(beat).write(state)
        assert Schedules(beat).read() == state
        with pytest.raises(redis.exceptions.NoPermissionError):
            Presences(beat).all()
