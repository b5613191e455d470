"""The stores themselves, on a real Redis."""

import time
from dataclasses import replace

import pytest
import redis
from redis.exceptions import ResponseError

from celery_fleet.store.audit import Audit
from celery_fleet.store.deadletters import CLAIM_SECONDS, TRACEBACK_LIMIT, DeadLetter, DeadLetters, RetryError
from celery_fleet.store.index import TaskIndex, TaskRecord
from integration.support import PASSWORD, USER

NOW = time.time()


@pytest.fixture
def client(redis_server):
    with redis.Redis(port=redis_server.port, db=2, username=USER, password=PASSWORD, protocol=2) as client:
        yield client


def keys(client):
    return sorted(key.decode() for key in client.scan_iter("*"))


class TestDeadLetters:
    @pytest.fixture
    def letters(self, client):
        return DeadLetters(client, 100, 3600)

    def letter(self, number, **more):
        return DeadLetter(
            **{
                "task_id": f"t{number}",
                "name": "app.a",
                "queue": "celery",
                "reason": "failed",
                "args": [number],
                "kwargs": {"a": {"b": None}},
                "error": f"bad {number}",
                "message": "{}",
                "failed_at": NOW + number,
                **more,
            }
        )

    def test_once_for_each_task(self, letters):
        assert letters.add(self.letter(1))
        assert not letters.add(self.letter(1, error="another"))
        assert letters.get("t1") == self.letter(1)
        assert letters.get("t2") is None
        assert letters.count() == 1
        assert letters.totals()["added"] == 1

    def test_what_a_list_leaves_out(self, letters):
        long = self.letter(2, args=["x" * 2000], traceback="y" * (TRACEBACK_LIMIT + 5), message="m")
        letters.add(long)
        letters.add(self.letter(1))
        short, cut = letters.list().letters
        assert short == replace(self.letter(1), message="")
        assert cut == replace(long, args=None, kwargs=None, message="", traceback="")
        assert letters.get("t2").args == long.args
        assert letters.get("t2").traceback == "y" * TRACEBACK_LIMIT

    def test_odd_text_and_values(self, letters):
        odd = self.letter(1, name="\ud800", error="\udcff é", message="\udcff\udc80", args=[b"x", NOW])
        letters.add(replace(odd, task_id="odd"))
        assert letters.get("odd").message == "\udcff\udc80"

    def test_filters_and_pages(self, letters):
        for number in range(30):
            letters.add(
                self.letter(
                    number,
                    name=f"app.{'ab'[number % 2]}",
                    queue=f"q{number % 3}",
                    reason=("failed", "poison")[number % 5 == 0],
                )
            )
        ids = [f"t{number}" for number in reversed(range(30))]

        def found(**filters):
            page = letters.list(limit=100, **filters)
            assert page.total == len(page.letters)
            assert [letter.task_id for letter in page.letters] == list(letters.ids(**filters))
            return [int(letter.task_id[1:]) for letter in page.letters]

        assert found() == list(reversed(range(30)))
        assert found(name="app.a") == [n for n in reversed(range(30)) if n % 2 == 0]
        assert found(reason="poison") == [25, 20, 15, 10, 5, 0]
        assert found(name="app.a", queue="q0") == [24, 18, 12, 6, 0]
        assert found(name="app.a", queue="q0", reason="poison") == [0]
        assert found(text="BAD 2") == [29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 2]
        assert found(text="[17]") == [17]
        assert found(name="nobody") == []
        for filters in ({}, {"text": "bad"}):
            pages = [letters.list(offset, 7, **filters) for offset in range(0, 35, 7)]
            assert [letter.task_id for page in pages for letter in page.letters] == ids
            assert {page.total for page in pages} == {30}
        counts = letters.counts()
        assert counts["name"] == {"app.a": 15, "app.b": 15}
        assert counts["reason"] == {"failed": 24, "poison": 6}

        assert letters.delete(["t0", "t1", "nobody"]) == 2
        assert letters.purge(name="app.a") == 14
        assert letters.counts()["name"] == {"app.b": 14}
        assert letters.purge() == 14
        assert letters.totals()["deleted"] == 30

    def test_nothing_is_left_of_what_is_deleted(self, letters, client):
        letters.add(self.letter(1))
        letters.purge()
        assert keys(client) == ["fleet:dead:totals"]

    def test_the_limit(self, client):
        letters = DeadLetters(client, 10, 3600)
        for number in range(25):
            letters.add(self.letter(number, name=f"app.{number}"))
        assert [letter.task_id for letter in letters.list(limit=50).letters] == [
            f"t{number}" for number in reversed(range(15, 25))
        ]
        assert letters.totals()["trimmed"] == 15
        # totals, counts, the three letters' indexes (10 names), the list
        assert len(keys(client)) == 10 + 10 + 2 + 3
        DeadLetters(client, 4, 3600).add(self.letter(99))
        assert letters.count() == 4

    def test_age(self, client):
        letters = DeadLetters(client, 100, 100)
        letters.add(self.letter(1))
        for key in ("fleet:dead", "fleet:dead:name:app.a"):
            client.zadd(key, {"t1": NOW - 101})
        assert letters.count() == 0
        assert letters.list().letters == ()
        assert list(letters.ids(text="bad")) == []
        letters.add(self.letter(2))
        assert letters.get("t1") is None
        assert letters.totals()["expired"] == 1
        assert client.zcard("fleet:dead:name:app.a") == 1
        assert 0 < client.ttl("fleet:dead:letter:t2") <= 2 * 100 + 172800
        assert all(client.ttl(key) > 0 for key in keys(client) if key != "fleet:dead:totals")

    def test_claims(self, letters, client):
        letters.add(self.letter(1))
        first = letters.claim("t1")
        assert (first.retries, first.again) == (0, False)
        with pytest.raises(RetryError, match="somebody else"):
            letters.claim("t1")
        client.delete("fleet:dead:lock:t1")
        second = letters.claim("t1")
        assert second.again
        assert not letters.settle(first, "n1", "anna")
        assert letters.settle(second, "n2", "bert")
        assert letters.get("t1").retried_as == "n2"
        third = letters.claim("t1", force=True)
        assert (third.retries, third.again) == (1, False)
        letters.delete(["t1"])
        assert not letters.settle(third, "n3", "anna")
        assert letters.get("t1") is None

    def test_withdrawal(self, letters):
        letters.add(self.letter(1))
        letters.add(self.letter(2))
        letters.settle(letters.claim("t2"), "n", "anna")
        assert letters.withdraw(["t1", "t2", "t3"]) == 1
        assert letters.get("t1") is None
        assert letters.get("t2")
        assert letters.totals()["withdrawn"] == 1

    def test_a_prefix(self, client):
        DeadLetters(client, 10, 10, "p:").add(self.letter(1))
        TaskIndex(client, 10, 10, "p:").write([TaskRecord("t1", "SUCCESS", NOW)])
        Audit(client, "p:").add("anna", "act", "t1")
        assert all(key.startswith("p:fleet:") for key in keys(client))


class TestTaskIndex:
    @pytest.fixture
    def index(self, client):
        return TaskIndex(client, 100, 3600)

    def record(self, number, state="SUCCESS", **more):
        return TaskRecord(
            **{
                "task_id": f"t{number}",
                "state": state,
                "at": NOW + number,
                "name": "app.a",
                "queue": "celery",
                "worker": "w1",
                "received": NOW + number,
                **more,
            }
        )

    def test_one_record(self, index):
        record = self.record(1, args="(é, \U0001f600)", runtime=0.5, retries=2, priority=0, error="x")
        index.write([record])
        assert index.get("t1") == record
        assert index.get("t2") is None
        assert index.search(task_id="t1").records == (record,)
        index.write([self.record(2, args="\ud800")])
        assert index.get("t2").args == "?"

    def test_steps_in_any_order(self, index):
        """Two workers, whose batches arrive as they will."""
        for batch in (
            [self.record(1, "STARTED", retries=1, worker="w2", started=NOW + 2)],
            [self.record(1, "RECEIVED"), self.record(1, "RETRY", error="e")],
        ):
            index.write(batch)
        found = index.get("t1")
        assert (found.state, found.worker, found.retries) == ("STARTED", "w2", 1)
        assert index.count(state="RETRY") == index.count(worker="w1") == 0
        index.write([self.record(1, "SUCCESS", retries=1, at=NOW + 3, worker="w2")])
        index.write([self.record(1, "STARTED", retries=1, at=NOW + 2)])
        assert index.get("t1").state == "SUCCESS"
        assert index.get("t1").started == NOW + 2
        assert index.count(state="SUCCESS") == index.count() == 1
        # Much later it is news, whatever it says.
        index.write([self.record(1, "RECEIVED", at=NOW + 60)])
        assert index.get("t1").state == "RECEIVED"

    def test_search(self, index):
        states = ("SUCCESS", "FAILURE", "STARTED")
        index.write(
            [
                self.record(n, states[n % 3], name=f"app.{'ab'[n % 2]}", worker=f"w{n % 4}", error=f"Bad {n}")
                for n in range(60)
            ]
        )

        def found(limit=500, **filters):
            numbers, cursor = [], ""
            for _ in range(100):
                page = index.search(**filters, cursor=cursor, limit=limit)
                numbers += [int(record.task_id[1:]) for record in page.records]
                assert len(page.records) <= limit
                cursor = page.cursor
                if not cursor:
                    return numbers
            return pytest.fail("the cursor leads nowhere")

        everything = list(reversed(range(60)))
        for limit in (1, 7, 60, 500):
            assert found(limit) == everything
            assert found(limit, state="FAILURE") == [n for n in everything if n % 3 == 1]
            assert found(limit, name="app.a", worker="w2") == [n for n in everything if n % 4 == 2]
            assert found(limit, text="BAD 5") == [n for n in everything if str(n)[0] == "5"]
        assert found(state="SUCCESS", name="app.a", queue="celery", worker="w0", text="bad 1") == [12]
        assert found(since=NOW + 10, until=NOW + 12) == [12, 11, 10]
        assert found(3, since=NOW + 10, state="SUCCESS", until=NOW + 20) == [18, 15, 12]
        assert found(name="nobody") == []
        with pytest.raises(ValueError, match="is no cursor"):
            index.search(cursor="nonsense")

    def test_tasks_of_one_moment(self, index):
        index.write([self.record(n, received=NOW) for n in range(40)])
        seen, cursor = [], ""
        for _ in range(50):
            page = index.search(cursor=cursor, limit=3)
            seen += [record.task_id for record in page.records]
            cursor = page.cursor
            if not cursor:
                break
        assert sorted(seen) == sorted(f"t{n}" for n in range(40))

    def test_limit_and_age(self, client):
        index = TaskIndex(client, 10, 100)
        index.write([self.record(n, name=f"app.{n}") for n in range(25)])
        assert index.count() == 10
        assert index.totals() == {"added": 25, "trimmed": 15, "expired": 0}
        assert [record.task_id for record in index.search().records][-1] == "t15"
        assert index.get("t14") is None
        assert len([key for key in keys(client) if key.startswith("fleet:tasks:name")]) == 10
        index.write([self.record(130, name="app.new")])
        assert index.count() == 1
        assert index.totals()["expired"] == 10
        lasting = ("fleet:tasks:totals", "fleet:figures")
        assert all(client.ttl(key) > 0 for key in keys(client) if not key.startswith(lasting))
        assert client.ttl("fleet:task:t130") > client.ttl("fleet:tasks")


def test_audit(client, monkeypatch):
    audit = Audit(client)
    first = audit.add("anna", "dlq.retry", "t1", details={"queue": "celery"})
    second = audit.add("bert", "cancel", "t2", "refused", {"big": "x" * 9000})
    newest, oldest = audit.list()
    assert (oldest.id, oldest.actor, oldest.action, oldest.subject) == (first, "anna", "dlq.retry", "t1")
    assert (oldest.outcome, oldest.details) == ("done", {"queue": "celery"})
    assert abs(oldest.at - time.time()) < 60
    assert (newest.id, newest.outcome) == (second, "refused")
    assert len(newest.details["cut"]) < 9000
    assert [entry.id for entry in audit.list(before=second)] == [first]
    assert audit.list(before="0-0") == []
    assert [entry.id for entry in audit.list(limit=1)] == [second]
    monkeypatch.setattr("celery_fleet.store.audit.LIMIT", 10)
    for number in range(500):
        audit.add("anna", "act", str(number))
    assert client.xlen("fleet:audit") < 200


def test_who_may_only_read_can_list_and_search(client, redis_server):
    letters, index = DeadLetters(client, 10, 100), TaskIndex(client, 10, 100)
    letters.add(DeadLetter("t1", "a", "q", "failed"))
    index.write([TaskRecord("t1", "FAILURE", NOW, name="a")])
    rights = ["on", ">pw", "+evalsha", "+script|load", "+time", "+@connection", "(%R~fleet:* +@read -keys)"]
    client.execute_command("ACL", "SETUSER", "reader", *rights)
    try:
        with redis.Redis(
            port=redis_server.port, db=2, username="reader", password="pw", protocol=2
        ) as reader:
            letters, index = DeadLetters(reader, 10, 100), TaskIndex(reader, 10, 100)
            assert letters.list(text="a", name="a").total == letters.list().total == letters.count() == 1
            assert letters.get("t1")
            assert letters.counts()["name"] == {"a": 1}
            assert len(index.search(name="a", state="FAILURE", text="t1").records) == 1
            assert index.get("t1")
            with pytest.raises(redis.exceptions.NoPermissionError):
                letters.delete(["t1"])
    finally:
        client.acl_deluser("reader")


def test_no_store_looks_at_all_keys(client):
    """KEYS is not needed, and may be forbidden."""
    client.execute_command("ACL", "SETUSER", "worker", "-keys")
    try:
        with pytest.raises(ResponseError):
            client.keys("*")
        letters = DeadLetters(client, 10, 10)
        letters.add(DeadLetter("t1", "a", "q", "failed"))
        letters.list(text="x", name="a")
        letters.claim("t1", seconds=CLAIM_SECONDS)
        letters.purge()
        TaskIndex(client, 1, 1).write([TaskRecord("t1", "SUCCESS", NOW)])
    finally:
        client.execute_command("ACL", "SETUSER", "worker", "+keys")
