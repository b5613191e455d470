"""The stores with the rights that role redis gives."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from celery_fleet.delivery import cancellation
from celery_fleet.store.audit import Audit
from celery_fleet.store.deadletters import DeadLetter, DeadLetters
from celery_fleet.store.index import TaskIndex, TaskRecord
from integration.test_redis_acl import Broker


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
    index.write([TaskRecord(f"t{n}", "SUCCESS", 1.0, name="a") for n in range(3)])
    Audit(client).add("anna", "act", "t1")
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
    Audit(client).list()


def test_workers_and_operators_may_do_it_all_and_clients_may_look(broker: Broker) -> None:
    with broker.as_user("worker", 2) as worker, broker.as_user("worker") as marks:
        everything(worker)
        cancellation.cancel(marks, ["t1"])
        assert cancellation.cancelled(marks, ["t1"]) == {"t1"}
    with broker.as_user("client", 2) as client:
        reading(client)
    assert broker.refused() == []
