"""What workers and Beat say of themselves, as it is stored: presences, the catalogue, the schedule."""

import json
import time
from dataclasses import replace

import pytest
import redis

from celery_fleet.store.catalogue import RENEWED, Catalogue, Parameter, TaskType
from celery_fleet.store.presence import Presence, Presences, Running
from celery_fleet.store.schedules import BeatState, ScheduleEntry, Schedules
from integration.support import PASSWORD, USER

NOW = time.time()
DAY = 86400.0


@pytest.fixture
def client(redis_server):
    with redis.Redis(port=redis_server.port, db=2, username=USER, password=PASSWORD, protocol=2) as client:
        yield client


def presence(node="default@a", at=NOW, release="r1"):
    return Presence(
        node=node, host="a", pid=7, pool=node.partition("@")[0], kind="prefork", concurrency=4, queues=("celery", "mail"),
        busy=1, done=2, failed=3, started_at=NOW - 9, release=release, memory=2**30, largest_child=2**20,
        running=(Running("t1", "app.\ud800", NOW - 1, "celery"),), at=at,
    )  # fmt: skip


def test_presences(client):
    presences = Presences(client)
    assert presences.all() == []
    first, second = presence("b@a"), presence("a@a", at=NOW - 8 * DAY)
    presences.write(first)
    presences.write(second)
    presences.write(replace(first, busy=4))
    assert presences.all() == [second, replace(first, busy=4)]
    presences.prune(NOW)
    assert presences.all() == [replace(first, busy=4)]
    presences.remove("b@a")
    presences.remove("b@a")
    assert presences.all() == []
    Presences(client, "p:").write(first)
    assert presences.all() == []


def test_schedules(client):
    schedules = Schedules(client)
    assert schedules.read() is None
    entry = ScheduleEntry("nightly", "app.a", "0 4 * * *", "mail", (1, "é"), {"a": [1]}, NOW - 5, NOW + 5, 3)
    schedules.write(BeatState(NOW, "a", 7, (entry,)))
    assert schedules.read() == BeatState(NOW, "a", 7, (entry,))
    schedules.write(BeatState(NOW, "a", 7, (replace(entry, args=(object,)),)))
    assert schedules.read().entries[0].args == (repr(object),)


def test_words_of_another_release(client):
    """Workers are replaced one after the other: what one tells more, or less, breaks nobody."""
    presences, schedules, catalogue = Presences(client), Schedules(client), Catalogue(client)
    presences.write(presence())
    told = json.loads(client.hget("fleet:presence", "default@a"))
    del told["stopping"]
    told["running"][0]["more"] = 1
    client.hset("fleet:presence", "default@a", json.dumps({**told, "more": 1}))
    assert presences.all() == [presence()]
    schedules.write(BeatState(NOW, "a", 7, ()))
    client.set("fleet:beat", json.dumps({**json.loads(client.get("fleet:beat")), "more": 1}))
    assert schedules.read() == BeatState(NOW, "a", 7, ())
    catalogue.write([TaskType("a", pools=("default",))], "r1", now=NOW)
    (key,) = client.hkeys("fleet:catalogue")
    told = json.loads(client.hget("fleet:catalogue", key))
    del told["types"][0]["queue"]
    told["types"][0]["more"] = 1
    client.hset("fleet:catalogue", key, json.dumps(told))
    assert catalogue.all(NOW)["a"] == TaskType("a", (), "", "r1", ("default",), NOW)


class TestCatalogue:
    @pytest.fixture
    def catalogue(self, client):
        return Catalogue(client)

    def types(self, *names, pools=("default",), doc=""):
        return [TaskType(name, (Parameter("x", annotation="int"),), doc, pools=pools) for name in names]

    def test_one_worker(self, catalogue):
        catalogue.write(self.types("b", "a"), "r1", now=NOW)
        found = catalogue.all(NOW)
        assert list(found) == ["a", "b"]
        assert found["a"] == TaskType("a", (Parameter("x", annotation="int"),), "", "r1", ("default",), NOW)
        assert catalogue.get("b").release == "r1"
        assert catalogue.get("nobody") is None

    def test_the_worker_that_started_last_tells_the_parameters(self, catalogue):
        catalogue.write(self.types("a", doc="new"), "r2", started=NOW, now=NOW)
        catalogue.write(self.types("a", doc="old", pools=("other",)), "r1", started=NOW - 900, now=NOW + 60)
        found = catalogue.all(NOW + 60)["a"]
        assert (found.doc, found.release, found.pools, found.at) == (
            "new",
            "r2",
            ("default", "other"),
            NOW + 60,
        )

    def test_what_no_worker_registers_any_more(self, client, catalogue):
        catalogue.write(self.types("gone", "kept"), "r1", started=NOW - 900, now=NOW)
        catalogue.write(self.types("kept"), "r2", started=NOW, now=NOW + 1)
        assert not any(each.stale for each in catalogue.all(NOW + 1).values()), "it is not known yet"
        Presences(client).write(presence(at=NOW + 1, release="r2"))
        found = catalogue.all(NOW + 1)
        assert (found["gone"].stale, found["gone"].release) == (True, "r1")
        assert (found["kept"].stale, found["kept"].release, found["kept"].pools) == (
            False,
            "r2",
            ("default",),
        )
        # While nobody runs, all that was renewed of late counts.
        assert not catalogue.all(NOW + 600)["gone"].stale
        assert catalogue.all(NOW + 2 * RENEWED + 100)["kept"].stale

    def test_it_is_dropped_after_a_week(self, client, catalogue):
        catalogue.write(self.types("gone"), "r1", now=NOW)
        assert catalogue.all(NOW + 6 * DAY)["gone"].stale
        assert catalogue.all(NOW + 8 * DAY) == {}
        catalogue.write(self.types("kept"), "r2", now=NOW + 8 * DAY)
        assert client.hlen("fleet:catalogue") == 1
