"""The messages that wait, as people are shown them."""

import json

import pytest

from celery_fleet.delivery.keys import Keys
from celery_fleet.store.headers import SINCE
from celery_fleet.survey import messages
from celery_fleet.survey.messages import find_waiting, peek, recent
from integration.delivery.conftest import publish

KEYS = Keys()
FAR = "2999-01-01T00:00:00+00:00"


def send(connection, task_id, name="q", priority=5, since=None, eta=None):
    headers = {
        "id": task_id,
        "task": "app.work",
        "argsrepr": f"('{task_id}',)",
        "kwargsrepr": "{'é': 1}",
        "eta": eta,
    }
    publish(connection, name, [[], {}, {}], headers={**headers, SINCE: since}, priority=priority)


def test_the_next_ones(connect, client):
    producer = connect()
    for number, priority in enumerate((5, 5, 0, 9, 5)):
        send(producer, f"t{number}", priority=priority, since=1.7e9 + number + 0.25)
    client.lpush("q", "{", json.dumps({"headers": {"id": 7, "task": None}}))
    found = peek(client, "q", KEYS)
    assert [each.task_id for each in found] == ["t2", "", "", "t0", "t1", "t4", "t3"]
    assert [each.position for each in found] == [1, 2, 3, 1, 2, 3, 1]
    assert [each.priority for each in found] == [10, 10, 10, 5, 5, 5, 1]
    first = found[0]
    assert (first.name, first.queue, first.since, first.due) == ("app.work", "q", 1.7e9 + 2.25, None)
    assert (first.args, first.kwargs) == ("('t2',)", "{'é': 1}")
    assert first.size == len(client.lindex("q", -1))
    assert [each.task_id for each in peek(client, "q", KEYS, limit=4)] == ["t2", "", "", "t0"]
    assert [each.task_id for each in peek(client, "q", KEYS, priority=5, limit=2)] == ["t0", "t1"]
    assert peek(client, "empty", KEYS) == []


def test_the_newest_of_all_queues(connect, client):
    producer = connect()
    for number in range(12):
        send(producer, f"t{number}", name="ab"[number % 2], priority=number % 3, since=1.7e9 + number)
    send(producer, "unknown", name="a", priority=9)
    found = recent(client, ["a", "b", "empty"], KEYS, 5)
    assert [each.task_id for each in found] == ["t11", "t10", "t9", "t8", "t7"]
    assert (found[0].queue, found[0].priority, found[0].position) == ("b", 8, 2)
    assert [each.task_id for each in recent(client, ["a", "b"], KEYS, 100)][-1] == "unknown"


def test_one_task(connect, client, monkeypatch):
    producer = connect()
    for number in range(3):
        send(producer, f"t{number}", since=1.7e9)
    send(producer, "far", priority=2, eta=FAR)
    send(connect("stock"), "stock", name="other")
    found = find_waiting(client, "t1", ["q"], KEYS)
    assert (found.task_id, found.queue, found.priority, found.position, found.since) == (
        "t1",
        "q",
        5,
        2,
        1.7e9,
    )
    parked = find_waiting(client, "far", ["q"], KEYS)
    assert (parked.queue, parked.priority, parked.position, parked.due) == ("q", 8, None, 32472144000.0)
    assert find_waiting(client, "stock", ["q", "other"], KEYS).queue == "other"
    assert find_waiting(client, "nobody", ["q", "other"], KEYS) is None
    monkeypatch.setattr(messages.pending, "MOST", 0)
    deep = find_waiting(client, "t1", ["q"], KEYS)
    assert (deep.task_id, deep.queue, deep.priority, deep.position, deep.name) == ("t1", "q", 5, None, "")


@pytest.mark.parametrize(
    "look", [lambda client: peek(client, "q", KEYS), lambda client: recent(client, ["q"], KEYS, 50)]
)
def test_bodies_stay_in_redis(connect, client, look):
    for number in range(50):
        headers = {"id": str(number), "task": "t", "argsrepr": "x" * 5000}
        publish(connect("stock"), "q", "b" * 50_000, headers=headers)
    before = client.info("stats")["total_net_output_bytes"]
    found = look(client)
    assert client.info("stats")["total_net_output_bytes"] - before < 100_000
    assert {len(each.args) for each in found} == {1024}
