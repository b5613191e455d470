"""The operator's verbs against a real Redis and real workers."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celery_fleet.delivery.keys import Keys
from celery_fleet.store.audit import Audit
from integration.cli.conftest import Answer, Fleet
from integration.runtime.plain import APP, APPS, VARIABLES
from integration.support import PASSWORD, SRC, RedisServer, Service, Services, eventually
from integration.test_redis_acl import PLAN
from templates.rendering import evaluate, role_variables

# Celery stores results by a command that redis-py calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

KEYS = Keys()
NODE = f"default@{socket.gethostname()}"
Environment = Callable[..., dict[str, str]]


def raw(server: RedisServer, database: int = 0) -> Any:
    """A client that answers in bytes, as the stores want it."""
    client = server.client(database)
    client.connection_pool.connection_kwargs["decode_responses"] = False
    return client


def actions(server: RedisServer) -> list[tuple[str, str, str]]:
    """What the audit has, newest first."""
    host = f"@{socket.gethostname()}"
    return [
        (entry.actor.removesuffix(host), entry.action, entry.subject)
        for entry in Audit(raw(server, 2)).list()
    ]


def envelope(
    task_id: str, task: str = "plainapp.add", since: float | None = None, queue: str = "celery"
) -> str:
    """A message as kombu writes it."""
    return json.dumps(
        {
            "body": "W1sxLDJdLHt9LHt9XQ==",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": task_id, "task": task, "retries": 0, "fleet_since": since or time.time()},
            "properties": {
                "delivery_info": {"exchange": queue, "routing_key": queue},
                "delivery_tag": f"tag-{task_id}",
                "priority": 5,
                "body_encoding": "base64",
            },
        }
    )


def lease(server: RedisServer, node: str, age: float) -> None:
    """A lease whose owner was last heard of so many seconds ago."""
    said = {
        "token": "t", "host": "elsewhere", "machine": "m", "boot": "b", "pidns": "n", "pid": 7, "started": 1,
        "beat": 3, "at": time.time() - age,
    }  # fmt: skip
    with server.client() as client:
        client.hset(KEYS.leases, node, json.dumps(said))
        client.set(KEYS.owner(node), "t")


def hold(server: RedisServer, node: str, *task_ids: str) -> None:
    """Messages that a node has claimed."""
    with server.client() as client:
        for number, task_id in enumerate(task_ids):
            entry = [json.loads(envelope(task_id)), "celery", "celery"]
            client.hset(KEYS.unacked(node), f"tag-{task_id}", json.dumps(entry))
            client.zadd(KEYS.unacked_index(node), {f"tag-{task_id}": number + 1})


class TestWithoutWorkers:
    def test_queues(self, fleet: Fleet, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.lpush(KEYS.queue("celery", 0), envelope("a"), envelope("b"))
            client.lpush(KEYS.queue("celery", 5), envelope("c", since=time.time() - 90))
            client.lpush(KEYS.queue("celery", 5), envelope("e"))
        hold(redis_server, NODE, "d")
        found = {queue["queue"]: queue for queue in fleet("queues", "--json").data["queues"]}
        assert list(found) == ["celery", "email"]
        celery = found["celery"]
        assert (celery["waiting"], celery["by_priority"]) == (4, {"10": 2, "5": 2})
        assert (celery["unacked"], celery["consumers"]) == (1, 0)
        assert 90 <= celery["oldest_age"] < 150
        assert found["email"]["oldest_age"] is None
        table = fleet("queues")
        assert "10:2 5:2" in table.out
        assert "\x1b" not in table.out

    def test_an_app_with_a_key_prefix_of_its_own(
        self, fleet: Fleet, redis_server: RedisServer, tmp_path: Path
    ) -> None:
        (tmp_path / "prefixed.py").write_text(
            'from plainapp import app\napp.conf.broker_transport_options = {"global_keyprefix": "p:"}\n'
        )
        with redis_server.client() as client:
            client.lpush("p:celery", envelope("a"))
        own = {"CELERY_FLEET_APP": "prefixed:app", "PYTHONPATH": f"{SRC}:{APPS}:{tmp_path}"}
        for arguments, waiting in ((["--with-app", "queues"], 1), (["queues"], 0)):
            found = fleet(*arguments, "--json", **own).data["queues"]
            assert found[0]["waiting"] == waiting

    def test_status_says_what_is_wrong(self, fleet: Fleet, redis_server: RedisServer) -> None:
        with redis_server.client() as client:
            client.lpush("email", envelope("a"))
        answer = fleet("status", "--json")
        assert answer.code == 1
        assert answer.data["health"] == "2 problems"
        assert [finding["text"] for finding in answer.data["findings"]] == [
            "no worker is alive",
            "nobody consumes the queue email: 1 task waiting there",
        ]
        assert answer.data["queues"] == {"waiting": 1, "parked": 0, "unacked": 0}
        assert answer.data["redis"]["append_only"] is True
        assert fleet("status").out.startswith("The fleet has 2 problems\n")

    def test_a_dead_worker_and_a_pool_of_this_host_that_does_not_run(
        self, fleet: Fleet, redis_server: RedisServer, services: Services
    ) -> None:
        lease(redis_server, "io@elsewhere", age=60)
        (services.directory / "pools").mkdir()
        (services.directory / "pools" / "mail.env").touch()
        answer = fleet("workers", "--json")
        assert answer.code == 1
        states = {worker["node"]: worker["state"] for worker in answer.data["workers"]}
        assert states == {"io@elsewhere": "dead", f"mail@{socket.gethostname()}": "stopped"}
        assert fleet("pools").code == 1

    def test_submit_checks_names_arguments_and_queues(self, fleet: Fleet, redis_server: RedisServer) -> None:
        assert "did you mean plainapp.add?" in fleet("submit", "plainapp.ad").err
        assert fleet("submit", "plainapp.add", "[1]").code == 2
        assert "did you mean email?" in fleet("submit", "plainapp.add", "[1, 2]", "--queue", "emial").err
        with redis_server.client() as client:
            assert not client.exists("celery", KEYS.queue("celery", 5))
        forced = fleet("submit", "unheard.of", "--force", "--priority", "9", "--queue", "email", "--json")
        assert forced.code == 0
        with redis_server.client() as client:
            message = json.loads(client.lindex(KEYS.queue("email", 1), 0))
        assert message["headers"]["id"] == forced.data["id"]
        assert message["headers"]["fleet_since"]
        assert actions(redis_server) == [("ann", "task.submit", forced.data["id"])]

    def test_where_a_message_is(self, fleet: Fleet, redis_server: RedisServer) -> None:
        waiting = fleet("submit", "plainapp.add", "[1, 2]").out.strip()
        later = fleet("submit", "plainapp.add", "[1, 2]", "--countdown", "600").out.strip()
        hold(redis_server, NODE, "held-task")

        def place(task_id: str) -> Any:
            (found,) = fleet("tasks", "show", task_id, "--json").data["messages"]
            return found

        found = place(waiting)
        assert (found["place"], found["queue"], found["priority"], found["position"]) == (
            "waiting", "celery", 5, 1,
        )  # fmt: skip
        found = place(later)
        assert (found["place"], found["queue"]) == ("parked", "celery")
        assert 500 < found["due"] - time.time() <= 600
        found = place("held-task")
        assert (found["place"], found["queue"], found["node"]) == ("held", "celery", NODE)
        nothing = fleet("tasks", "show", "nothing")
        assert nothing.code == 1
        assert "nothing is known" in nothing.err

    def test_recover(self, fleet: Fleet, redis_server: RedisServer) -> None:
        lease(redis_server, "io@elsewhere", age=60)
        lease(redis_server, "cpu@elsewhere", age=-30)  # heard of all through the test
        hold(redis_server, "io@elsewhere", "first", "second")
        hold(redis_server, "cpu@elsewhere", "running")
        refused = fleet("recover", "cpu@elsewhere", "--yes")
        assert refused.code == 1
        assert "is alive: process 7 on elsewhere" in refused.err
        assert fleet("recover", "nobody@nowhere", "--yes").code == 1
        assert fleet("recover", "--dead").code == 2, "it asks, and there is nobody to answer"
        answer = fleet("recover", "--dead", "--yes", "--json")
        assert answer.data == {"recovered": {"io@elsewhere": {"returned": 2, "set_aside": 0}}}
        with redis_server.client() as client:
            line = client.lrange(KEYS.queue("celery", 5), 0, -1)
            assert client.hkeys(KEYS.unacked("cpu@elsewhere")) == ["tag-running"]
        assert [json.loads(message)["headers"]["id"] for message in reversed(line)] == ["first", "second"]
        assert actions(redis_server) == [("ann", "worker.recover", "io@elsewhere")]
        assert fleet("recover", "--dead").out == "no worker is dead\n"

        def states() -> dict[str, str]:
            found = fleet("workers", "--json", "--timeout", "0.1").data["workers"]
            return {worker["node"]: worker["state"] for worker in found}

        assert states() == {"cpu@elsewhere": "silent", "io@elsewhere": "gone"}
        assert fleet("recover", "io@elsewhere", "--forget", "--yes").code == 0
        assert states() == {"cpu@elsewhere": "silent"}

    def test_cancel_what_only_waits(self, fleet: Fleet, redis_server: RedisServer) -> None:
        task_id = fleet("submit", "plainapp.add", "[1, 2]").out.strip()
        answer = fleet("cancel", task_id, "--timeout", "0.1")
        assert (answer.code, answer.out) == (0, f"{task_id}: taken out of its queue, it will not run\n")
        (found,) = fleet("cancel", task_id, "--timeout", "0.1", "--json").data["cancelled"]
        assert (found["state_before"], found["possible"]) == ("REVOKED", True)
        with redis_server.client() as client:
            assert client.zscore(KEYS.cancelled, task_id)
        assert [action for _, action, _ in actions(redis_server)] == ["task.cancel"] * 2 + ["task.submit"]

    def test_pauses(self, fleet: Fleet, redis_server: RedisServer) -> None:
        assert fleet("pause", "email", "--reason", "it moves").out == "email: paused\n"
        assert fleet("pause", "email", "--json").data == {"queue": "email", "changed": False}
        row = fleet("queues").out.splitlines()[2]
        assert row.startswith("email")
        assert row.endswith(f"by ann@{socket.gethostname()}: it moves")
        celery, email = (each["paused"] for each in fleet("queues", "--json").data["queues"][:2])
        assert (celery, email["by"], email["reason"]) == (None, f"ann@{socket.gethostname()}", "it moves")
        lease(redis_server, "cpu@elsewhere", age=-30)
        assert fleet("drain", "cpu").code == 0
        refused = fleet("undrain", "cpu@elsewhere")
        assert (refused.code, "`fleet undrain cpu`" in refused.err) == (1, True)
        assert "silent, drained" in fleet("workers").out
        assert fleet("workers", "--json").data["workers"][0]["draining"]["reason"] == ""
        assert fleet("pools", "--json").data["pools"][0]["draining"] == 1
        findings = fleet("status", "--json").data["findings"]
        found = [each["text"] for each in findings if each["level"] == "warning"]
        assert any(text.startswith("paused: the queue email, by ann@") for text in found)
        assert any("`fleet undrain cpu`" in text for text in found)
        assert fleet("resume", "email").out == "email: goes on\n"
        assert fleet("resume", "email").out == "email: was not paused\n"
        assert fleet("undrain", "cpu", "--json").data == {"worker": "cpu", "changed": True}
        for verb, name in (
            ("pause", "nosuch"),
            ("resume", "nosuch"),
            ("drain", "nosuch"),
            ("undrain", "nosuch"),
        ):
            answer = fleet(verb, name)
            assert (answer.code, "nosuch" in answer.err) == (1, True)
        assert [action for _, action, _ in actions(redis_server)] == [
            "worker.undrain", "queue.resume", "worker.drain", "queue.pause"
        ]  # fmt: skip

    def test_stock_delivery_has_no_pauses(self, fleet: Fleet, environment: Any) -> None:
        environment({**VARIABLES, "celery_delivery": "stock"})
        answer = fleet("pause", "celery")
        assert (answer.code, "celery_delivery is stock" in answer.err) == (1, True)

    def test_a_password_that_redis_refuses(self, fleet: Fleet, tmp_path: Any) -> None:
        (tmp_path / "wrong").write_text("wrong\n")
        for arguments in (["status"], ["submit", "plainapp.add", "[1, 2]"], ["dlq", "list"]):
            answer = fleet(*arguments, CELERY_FLEET_REDIS_PASSWORD_FILE=str(tmp_path / "wrong"))
            assert answer.code == 3
            assert answer.err.startswith("fleet: Redis refuses this user: ")
            assert answer.err.count("\n") == 1

    def test_the_rights_of_the_workers_are_enough(
        self, fleet: Fleet, redis_server: RedisServer, tmp_path: Path
    ) -> None:
        """By the ACL that the role gives to the user whose password the hosts have."""
        plan = {**PLAN, "topology": {"queues": {"celery": {}, "email": {}}}}
        variables = role_variables("redis") | {
            "celery_plan": plan, "inventory_dir": str(tmp_path), "fleet_secrets_dir": str(tmp_path / "secrets"),
        }  # fmt: skip
        rules = evaluate("redis_users", variables)["worker"]["rules"]
        with redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{PASSWORD}", *rules)
            client.acl_log_reset()
        lease(redis_server, "io@elsewhere", age=60)
        hold(redis_server, "io@elsewhere", "first")
        urls = {
            name: f"redis://limited@{redis_server.host}/{database}"
            for name, database in (("CELERY_BROKER_URL", 0), ("CELERY_RESULT_BACKEND", 1))
        }
        task_id = fleet("submit", "plainapp.add", "[1, 2]", **urls).out.strip()
        for arguments in (
            ["status"], ["queues"], ["pools"], ["workers"], ["tasks"], ["tasks", "show", task_id], ["dlq", "list"],
            ["dlq", "list", "--name", "a*", "--text", "x"], ["dlq", "purge", "--all", "--yes"],
            ["recover", "--dead", "--yes"], ["cancel", task_id, "--terminate", "--yes"],
        ):  # fmt: skip
            assert "fault of fleet" not in fleet(*arguments, **urls).err
        with redis_server.client() as client:
            refused = {entry["object"] for entry in client.acl_log()}
            client.execute_command("ACL", "DELUSER", "limited")
        assert refused <= {"info"}, "without it, `fleet status` tells less of Redis"


@pytest.fixture
def pool(worker: Callable[..., Service], environment: Environment) -> Service:
    return worker(APP, VARIABLES, pythonpath=APPS, queues="celery,email", extra=environment())


class TestWithAWorker:
    @pytest.mark.parametrize("delivery", ["atomic", "stock"])
    def test_a_fleet_that_is_well(
        self, delivery: str, services: Services, environment: Environment, fleet: Fleet
    ) -> None:
        made = environment({**VARIABLES, "celery_delivery": delivery})
        pool = services.worker(made, concurrency=2, pool="threads").wait_ready()
        answer = fleet("submit", "plainapp.add", "[1]", "--kwargs", '{"y": 2}', "--wait", "30", "--json")
        assert (answer.code, answer.data["state"], answer.data["result"]) == (0, "SUCCESS", 3)
        (found,) = eventually(
            lambda: [w for w in fleet("workers", "--json").data["workers"] if w["done"]], what="the count"
        )
        assert (found["node"], found["state"], found["pid"]) == (NODE, "alive", pool.process.pid)
        assert (found["kind"], found["concurrency"], found["busy"]) == ("threads", 2, 0)
        assert sorted(found["queues"]) == ["celery", "email"]
        status = fleet("status")
        assert (status.code, status.out.splitlines()[0]) == (0, "The fleet is well")
        if delivery == "stock":
            return  # without leases, each look waits for workers that may be there
        (row,) = fleet("pools", "--json").data["pools"]
        assert (row["pool"], row["alive"], row["known"], row["concurrency"]) == ("default", 1, 1, 2)
        queues = fleet("queues", "--json").data
        assert {queue["queue"]: queue["consumers"] for queue in queues["queues"]} == {"celery": 1, "email": 1}

    @pytest.mark.usefixtures("pool")
    def test_commands_of_celery(self, fleet: Fleet) -> None:
        """F8"""
        for what in ("active", "registered", "stats", "active_queues"):
            answer = fleet("celery", "inspect", what, "--json", "--timeout", "20", "--destination", NODE)
            assert answer.code == 0
            assert list(json.loads(answer.out)) == [NODE]
            assert what != "registered" or "plainapp.add" in answer.out

    @pytest.mark.usefixtures("pool")
    def test_dead_letters(self, fleet: Fleet, redis_server: RedisServer) -> None:
        """D2: list, inspect, retry with the same arguments and a new id, delete, purge."""

        def letters(*filters: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = fleet("dlq", "list", "--json", *filters).data["letters"]
            return found

        failed = fleet("submit", "plainapp.fail", '["secret"]', "--wait", "30")
        assert failed.code == 1
        assert "ValueError: bad input" in failed.out
        (letter,) = letters()
        old = letter["task_id"]
        assert (letter["name"], letter["args"], letter["reason"]) == ("plainapp.fail", ["***"], "failed")
        assert "bad input" in fleet("dlq", "show", old).out
        assert (letters("--name", "mail.*"), len(letters("--name", "plain*", "--queue", "celery"))) == ([], 1)

        retried = fleet("dlq", "retry", old, "--json")
        new = retried.data["retried"][old]
        again = fleet("dlq", "retry", old)
        assert (again.code, again.out) == (1, "")
        assert f"retried as {new}" in again.err
        eventually(lambda: len(letters()) == 2, what="the letter of the retry")
        assert {each["task_id"]: each["retried_as"] for each in letters()} == {old: new, new: ""}
        bulk = fleet("dlq", "retry", "--reason", "failed", "--yes", "--json").data
        assert (list(bulk["retried"]), bulk["refused"]) == ([new], {}), "what was retried before is left out"
        eventually(lambda: len(letters()) == 3, what="the letter of the bulk retry")

        assert fleet("dlq", "delete", old).code == 2, "it asks, and there is nobody to answer"
        deleted = fleet("dlq", "delete", old, "unknown", "--yes", "--json")
        assert (deleted.code, deleted.data) == (1, {"deleted": [old], "missing": ["unknown"]})
        assert fleet("dlq", "show", old).code == 1
        assert fleet("dlq", "purge", "--yes").code == 2, "what is meant must be said"
        assert fleet("dlq", "purge", "--name", "plainapp.*", "--yes", "--json").data == {"deleted": 2}
        assert letters() == []
        assert [action for _, action, _ in reversed(actions(redis_server))] == [
            "task.submit", "dlq.retry", "dlq.retry", "dlq.delete", "dlq.purge",
        ]  # fmt: skip

    @pytest.mark.usefixtures("pool")
    def test_cancel_what_runs(self, fleet: Fleet) -> None:
        task_id = fleet("submit", "plainapp.nap", "[300]").out.strip()

        def state() -> Any:
            return (fleet("tasks", "show", task_id, "--json").data["record"] or {}).get("state")

        eventually(lambda: state() == "STARTED", what="its start")
        answer = fleet("cancel", task_id)
        assert (answer.code, answer.out) == (1, "")
        assert "runs on" in answer.err
        assert fleet("cancel", task_id, "--terminate").code == 2, "it asks, and there is nobody to answer"
        answer = fleet("cancel", task_id, "--terminate", "--yes")
        assert (answer.code, answer.out) == (0, f"{task_id}: ended, by {NODE}\n")
        eventually(lambda: state() == "REVOKED", what="its end")

    @pytest.mark.usefixtures("pool")
    def test_tasks(self, fleet: Fleet) -> None:
        good = fleet("submit", "mail.note", '["hello"]', "--wait", "30", "--json").data["id"]
        bad = fleet("submit", "plainapp.fail", '["secret"]', "--wait", "30", "--json").data["id"]

        def ids(*filters: str) -> list[str]:
            return [task["task_id"] for task in fleet("tasks", "--json", *filters).data["tasks"]]

        eventually(lambda: ids("--state", "failure") == [bad], what="the record of the failure")
        assert ids() == [bad, good]
        assert ids("--queue", "email") == ids("--name", "mail.note") == ids("--text", "hello") == [good]
        assert ids("--worker", NODE, "--since", "10m") == [bad, good]
        assert ids("--since", "2000-01-01", "--until", "2001-01-01") == []
        first = fleet("tasks", "--json", "--limit", "1").data
        assert [task["task_id"] for task in first["tasks"]] == [bad]
        assert ids("--cursor", first["cursor"]) == [good]
        shown: Answer = fleet("tasks", "show", bad, "--json")
        assert shown.data["record"]["state"] == shown.data["result"]["state"] == "FAILURE"
        assert (shown.data["messages"], shown.data["dead_letter"]) == ([], "failed")
        assert "plainapp.fail" in fleet("tasks", "show", bad).out
