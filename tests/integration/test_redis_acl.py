"""Celery's whole feature set with the ACL users of role redis, each with no more than its own rights.

A real redis-server runs the rendered users.acl; a real worker, a client and a beat log in as their own users.
What Redis refused to any of them stands in its ACL LOG, which must stay empty.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, _state, chain, chord, group
from celery.result import AsyncResult
from kombu import pools
from kombu.transport import TRANSPORT_ALIASES, _transport_cache

from integration.support import DIES_WITH_US, PATIENCE, SRC, free_port
from templates.rendering import evaluate, render, role_variables

pytestmark = [
    # Celery itself calls it for a saved group
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

APP = '''
import os
from celery import Celery

def make(user):
    """An app that logs in as this user; the priorities are those of the fleet."""
    url = "redis://%s:%s@127.0.0.1:%s/" % (user, os.environ["PASSWORD_" + user], os.environ["REDIS_PORT"])
    app = Celery("acl", broker=url + "0", backend=url + "1")
    app.conf.update(
        task_default_queue="celery", task_default_priority=5,
        task_track_started=True, task_send_sent_event=True, task_acks_late=True,
        worker_send_task_events=True, result_extended=True, worker_prefetch_multiplier=1,
        broker_transport_options={"priority_steps": list(range(10)), "queue_order_strategy": "priority"},
        broker_connection_retry_on_startup=True, worker_deduplicate_successful_tasks=True,
        beat_schedule={"tick": {"task": "add", "schedule": 1, "args": [1, 1]}}, beat_max_loop_interval=1,
        worker_enable_remote_control=True, worker_concurrency=2,
    )

    if os.environ["ACL_DELIVERY"] == "atomic":
        atomic(app, user)

    @app.task(name="add")
    def add(x, y): return x + y

    @app.task(name="total")
    def total(numbers): return sum(numbers)

    @app.task(name="again", bind=True, max_retries=3)
    def again(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0.2)
        return self.request.retries

    @app.task(name="boom")
    def boom(): raise ValueError("boom")

    @app.task(name="sleep")
    def sleep(seconds):
        import time
        time.sleep(seconds)

    return app

def atomic(app, user):
    from celery_fleet.delivery import results, transport
    from celery_fleet.delivery.keys import unacked_index_key, unacked_key
    from celery_fleet.delivery.ownership import Ownership, Policy
    from celery_fleet.delivery.restore import Rules
    transport.use()
    app.loader.override_backends = results.SCHEMES
    app.conf.broker_transport_options.update(
        unacked_key=unacked_key(user), unacked_index_key=unacked_index_key(user))
    app.steps["consumer"].add(Ownership.by(Policy(user, 60, Rules())))

if "ACL_USER" in os.environ:
    app = make(os.environ["ACL_USER"])
'''

PLAN = {
    "address": "127.0.0.1",
    "addresses": {"one": "127.0.0.1"},
    "redis_maxmemory": 128 * 2**20,
    "tls": False,
    "topology": {"queues": {"celery": {}, "email": {}}},
}


class Broker:
    """A redis-server with the rendered files of the role, on a free port."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        variables = role_variables("redis") | {
            "celery_plan": PLAN,
            "fleet_secrets_dir": str(directory / "secrets"),
            "inventory_dir": str(directory),
        }
        self.passwords: dict[str, str] = {
            name: user["password"] for name, user in evaluate("redis_users", variables).items()
        }
        (directory / "redis.conf").write_text(render("redis", "redis.conf.j2", variables))
        (directory / "users.acl").write_text(render("redis", "users.acl.j2", variables))
        (directory / "fleetacl.py").write_text(APP)
        own = {
            "aclfile": directory / "users.acl", "dir": directory, "port": self.port,
            "unixsocket": directory / "s", "pidfile": directory / "pid", "bind": "127.0.0.1",
        }  # fmt: skip
        arguments = [str(word) for name, value in own.items() for word in (f"--{name}", value)]
        self.command = [*DIES_WITH_US, "redis-server", str(directory / "redis.conf"), *arguments]
        self.admin = redis.Redis(port=self.port, username="admin", password=self.passwords["admin"])
        self.start()

    def start(self) -> None:
        with (self.directory / "redis.log").open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
            return False

    def as_user(self, name: str, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, username=name, password=self.passwords[name])

    def environment(self, user: str | None = None) -> dict[str, str]:
        own = {f"PASSWORD_{name}": password for name, password in self.passwords.items()}
        return own | {"REDIS_PORT": str(self.port)} | ({"ACL_USER": user} if user else {})

    def refused(self) -> list[Mapping[str, Any]]:
        """Everything that Redis denied since the last call."""
        entries: list[Mapping[str, Any]] = self.admin.acl_log()
        self.admin.execute_command("ACL", "LOG", "RESET")
        return [{key: entry[key] for key in ("reason", "object", "username", "context")} for entry in entries]

    def stop(self) -> None:
        self.admin.close()
        self.process.terminate()
        self.process.wait(60)


def wait_for(condition: Any, timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["atomic", "stock"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Once for each way in which tasks can be delivered."""
    aliases = dict(TRANSPORT_ALIASES)
    os.environ["ACL_DELIVERY"] = request.param
    broker = Broker(tmp_path_factory.mktemp("acl"))
    yield broker
    broker.stop()
    TRANSPORT_ALIASES.update(aliases)
    _transport_cache.clear()
    del os.environ["ACL_DELIVERY"]


def celery(broker: Broker, user: str, *arguments: str, log: str = "") -> subprocess.Popen[bytes]:
    command = [*DIES_WITH_US, sys.executable, "-m", "celery", "-A", "fleetacl:app", *arguments]
    with (broker.directory / (log or f"{user}.log")).open("w") as output:
        return subprocess.Popen(
            command,
            cwd=broker.directory,
            env=os.environ
            | broker.environment(user)
            | {"PYTHONPATH": os.pathsep.join((str(SRC), str(broker.directory)))},
            stdout=output,
            stderr=output,
        )


@pytest.fixture(scope="module")
def client(broker: Broker) -> Iterator[Celery]:
    """The app as a program that sends tasks sees it, with a worker behind it."""
    worker = celery(broker, "worker", "worker", "-E", "-Q", "celery,email", "-n", "acl@here", "-l", "info")
    finalizers = set(_state._on_app_finalizers)
    os.environ.update(broker.environment())
    sys.path.insert(0, str(broker.directory))
    sys.modules.pop("fleetacl", None)
    import fleetacl  # noqa: PLC0415

    app = fleetacl.make("client")
    app.set_current()  # `chain | group` and AsyncResult use the current app
    log = broker.directory / "worker.log"
    wait_for(lambda: " ready." in log.read_text() or worker.poll() is not None)
    assert worker.poll() is None, log.read_text()
    yield app
    worker.terminate()
    worker.wait(PATIENCE)
    app.close()
    _state._on_app_finalizers.intersection_update(finalizers)  # what each app made later would get, too
    pools.reset()
    sys.path.remove(str(broker.directory))


@pytest.fixture(autouse=True)
def _nothing_refused(broker: Broker) -> Iterator[None]:
    broker.refused()
    yield
    assert broker.refused() == []


def test_results(client: Celery) -> None:
    result = client.tasks["add"].delay(2, 3)
    assert result.get(timeout=60) == 5
    assert AsyncResult(result.id, app=client).state == "SUCCESS"
    failing = client.tasks["boom"].delay()
    with pytest.raises(ValueError, match="boom"):
        failing.get(timeout=60)
    result.forget()


def test_other_queue_and_priorities(client: Celery) -> None:
    add = client.tasks["add"]
    results = [add.apply_async((n, n), queue="email", priority=n) for n in range(10)]
    assert [result.get(timeout=60) for result in results] == [2 * n for n in range(10)]


def test_group_chain_and_chord(client: Celery) -> None:
    add, total = client.tasks["add"], client.tasks["total"]
    assert group(add.s(n, n) for n in range(4))().get(timeout=60) == [0, 2, 4, 6]
    assert chain(add.s(1, 1), add.s(10), add.s(100))().get(timeout=60) == 112
    assert chord((add.s(n, 1) for n in range(5)), total.s())().get(timeout=60) == 15
    nested = chain(group(add.s(1, 1), add.s(2, 2)), total.s())
    assert nested().get(timeout=60) == 6
    with pytest.raises(Exception, match="boom"):
        chord([client.tasks["boom"].s(), add.s(1, 1)], total.s())().get(timeout=60)


def test_a_saved_group(client: Celery) -> None:
    result = group(client.tasks["add"].s(n, n) for n in range(2))()
    result.save()
    assert client.GroupResult.restore(result.id).get(timeout=60) == [0, 2]
    result.delete()


def test_retry_and_eta(client: Celery) -> None:
    assert client.tasks["again"].delay().get(timeout=60) == 2
    started = time.monotonic()
    assert client.tasks["add"].apply_async((1, 2), countdown=1).get(timeout=60) == 3
    assert time.monotonic() - started > 0.9


def test_revoke(client: Celery) -> None:
    waiting = client.tasks["add"].apply_async((1, 1), countdown=9)  # a worker holds what is due so soon
    wait_for(lambda: any((client.control.inspect(timeout=1).scheduled() or {}).values()))
    waiting.revoke()
    wait_for(lambda: waiting.state == "REVOKED")
    running = client.tasks["sleep"].delay(60)
    wait_for(lambda: running.state == "STARTED")
    running.revoke(terminate=True)
    wait_for(lambda: running.state == "REVOKED")


def test_inspect_and_control(client: Celery) -> None:
    assert client.control.ping(timeout=1) == [{"acl@here": {"ok": "pong"}}]
    inspect = client.control.inspect(timeout=1)
    assert set(inspect.stats()) == {"acl@here"}
    assert {queue["name"] for queue in inspect.active_queues()["acl@here"]} == {"celery", "email"}
    client.control.add_consumer("email", reply=True, timeout=1)
    client.control.rate_limit("add", "100/s", reply=True, timeout=1)


def test_events(client: Celery) -> None:
    seen: set[str] = set()
    enough = {"worker-heartbeat", "task-sent", "task-received", "task-started", "task-succeeded"}
    with client.connection_for_read() as connection:
        receiver = client.events.Receiver(connection)

        def note(event: dict[str, Any]) -> None:
            seen.add(event["type"])
            if event["type"] == "worker-heartbeat":
                client.tasks["add"].delay(1, 1)
            receiver.should_stop = seen >= enough

        receiver.handlers = {"*": note}
        receiver.capture(limit=None, timeout=10, wakeup=True)
    assert seen >= enough


def test_purge_by_an_operator(client: Celery, broker: Broker) -> None:
    purge = celery(broker, "worker", "purge", "-f", "-Q", "celery,email", log="purge.log")
    assert purge.wait(PATIENCE) == 0, (broker.directory / "purge.log").read_text()


def test_beat(client: Celery, broker: Broker) -> None:
    before = broker.admin.info("commandstats").get("cmdstat_publish", {}).get("calls", 0)
    beat = celery(broker, "beat", "beat", "-s", str(broker.directory / "schedule"), "-l", "info")
    log = broker.directory / "beat.log"
    try:
        wait_for(lambda: log.read_text().count("Sending due task tick") >= 2)
    finally:
        beat.terminate()
        beat.wait(PATIENCE)
    assert "NOPERM" not in log.read_text()
    assert broker.admin.info("commandstats")["cmdstat_publish"]["calls"] > before


def test_a_worker_that_comes_back(client: Celery, broker: Broker) -> None:
    """All connections drop; the worker reconnects, restores what it had not acknowledged, and goes on."""
    broker.admin.execute_command("CLIENT", "KILL", "USER", "worker")
    assert client.tasks["add"].delay(4, 4).get(timeout=60) == 8


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("worker", "CONFIG GET *"),
        ("worker", "FLUSHALL"),
        ("worker", "KEYS *"),
        ("worker", "ACL LIST"),
        ("worker", "SHUTDOWN"),
        ("worker", "GET foreign"),
        ("worker", "CLIENT KILL TYPE normal"),
        ("client", "RPOP celery"),
        ("client", "BRPOP celery 1"),
        ("client", "DEL celery"),
        ("client", "LRANGE email 0 -1"),
        ("client", "FLUSHDB"),
        ("client", "ZREM fleet:parked x"),
        ("client", "HSET fleet:leases x y"),
        ("client", "SET fleet:audit 1"),
        ("client", "HGETALL unacked:here"),
        ("beat", "SET celery-task-meta-1 1"),
        ("beat", "RPOP celery"),
        ("console", "RPOP celery"),
        ("console", "BRPOP celery 1"),
        ("console", "DEL celery"),
        ("console", "HDEL unacked:here tag"),
        ("console", "DEL fleet:leases"),
        ("console", "SET fleet:owner:here x"),
        ("console", "KEYS *"),
        ("console", "CONFIG GET *"),
        ("console", "FLUSHDB"),
        ("flower", "LPUSH celery x"),
        ("flower", "RPOP celery"),
        ("flower", "LRANGE celery 0 -1"),
        ("flower", "SET celery-task-meta-1 1"),
        ("flower", "HGETALL fleet:presence"),
        ("flower", "GET fleet:beat"),
        ("exporter", "GET celery-task-meta-1"),
        ("exporter", "LRANGE celery 0 -1"),
        ("exporter", "LPUSH celery x"),
        ("exporter", "CONFIG SET maxmemory 1"),
        ("exporter", "CLIENT KILL TYPE normal"),
    ],
)
def test_what_is_not_allowed(broker: Broker, user: str, command: str) -> None:
    connection = broker.as_user(user)
    with pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command.split())
    connection.close()
    assert [entry["username"] for entry in broker.refused()] == [user]


@pytest.mark.parametrize(
    "command",
    [
        "LRANGE celery 0 -1",
        "LREM email 1 x",
        "HGETALL unacked:here",
        "HGETALL fleet:leases",
        "HSET fleet:paused queue:celery x",
        "HDEL fleet:paused queue:celery",
        "ZREM fleet:parked x",
        "ZADD fleet:cancelled:running 1 x",
        "XADD fleet:audit * what else",
        "HGETALL fleet:presence",
        "GET fleet:beat",
        "SETEX celery-task-meta-1 1 x",
        "INFO",
    ],
)
def test_what_the_console_may(broker: Broker, command: str) -> None:
    with broker.as_user("console") as connection:
        connection.execute_command(*command.split())


def test_the_console_may_take_one_message_out(broker: Broker) -> None:
    """By a script, together with what is noted of it."""
    script = """
        redis.call('LPUSH', KEYS[1], 'x')
        redis.call('HSET', KEYS[2], 'id', 'x')
        redis.call('HDEL', KEYS[2], 'id')
        redis.call('HGET', KEYS[3], 'here')
        return redis.call('LREM', KEYS[1], 1, 'x')
    """
    with broker.as_user("console") as connection:
        assert connection.eval(script, 3, "email", "fleet:pending", "fleet:leases") == 1
        with pytest.raises(redis.ResponseError, match=r"can't (access|run)"):
            connection.eval("return redis.call('RPOP', KEYS[1])", 1, "email")
    assert {entry["username"] for entry in broker.refused()} == {"console"}


def test_a_script_may_do_no_more_than_its_user(broker: Broker) -> None:
    """The keys of a script need both rights, so that a producer may wake who waits; it still cannot read a queue."""
    with broker.as_user("client") as connection:
        for command in ("'RPOP'", "'LRANGE'", "'DEL'"):
            with pytest.raises(redis.ResponseError, match=r"can't (access|run)"):
                connection.eval(f"return redis.call({command}, KEYS[1], 0, -1)", 1, "celery")
    assert {entry["context"] for entry in broker.refused()} == {"lua"}


def test_transactions_and_scripts_survive_a_crash(tmp_path: Path) -> None:
    """Redis loads its append-only file as the user `default`, with whatever rights that has."""
    broker = Broker(tmp_path)
    worker = broker.as_user("worker")
    worker.pipeline(transaction=True).lpush("celery", "1").hset("unacked:here", "tag", "2").execute()
    worker.eval("redis.call('LPUSH', KEYS[1], '3') redis.call('LPUSH', KEYS[2], '4')", 2, "email", "celery")
    worker.close()
    wait_for(
        lambda: not broker.admin.info("persistence")["aof_buffer_length"]
    )  # a slow disk puts the write off
    broker.process.kill()
    broker.process.wait()
    broker.start()
    assert broker.admin.lrange("celery", 0, -1) == [b"4", b"1"]
    assert broker.admin.lrange("email", 0, -1) == [b"3"]
    assert broker.admin.hgetall("unacked:here") == {b"tag": b"2"}
    broker.stop()


def test_nobody_without_a_password(broker: Broker) -> None:
    for password in (None, "guess"):
        connection = redis.Redis(port=broker.port, password=password, retry=None)
        with pytest.raises(redis.AuthenticationError):
            connection.ping()
        connection.close()
    broker.refused()
