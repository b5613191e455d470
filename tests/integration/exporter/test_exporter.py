"""The exporter as a process, on a real Redis and with real workers: its figures are the truth that the test counted."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from celery_fleet.exporter.server import Exporter
from celery_fleet.exporter.settings import Settings
from celery_fleet.store.connection import STATE_DATABASE
from celery_fleet.store.deadletters import DeadLetter, DeadLetters
from celery_fleet.store.presence import Presences
from celery_fleet.topology.document import topology_document
from integration.console.conftest import APP, APPS, QUEUES, VARIABLES
from integration.store.test_acl import PRESENCE
from integration.support import (
    DIES_WITH_US,
    Installed,
    RedisServer,
    Service,
    Services,
    certify,
    eventually,
    free_port,
)
from integration.test_redis_acl import Broker

_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Figures:
    """Samples by name and labels; each once."""
    found: Figures = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            key = match["name"], frozenset(_LABEL.findall(match["labels"] or ""))
            assert key not in found, f"twice: {line}"
            found[key] = float(match["value"])
    return found


class Scraped:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.figures = parsed(text)

    def sum(self, what: str, /, **labels: str) -> float | None:
        """All samples with these labels together; None: there is none."""
        values = [
            v for (n, had), v in self.figures.items() if n == what and labels.items() <= dict(had).items()
        ]
        return sum(values) if values else None


class ExporterProcess:
    """`python -m celery_fleet.exporter`, on a port of its own."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.port = free_port()
        (directory / "expected.json").write_text(
            json.dumps(
                [
                    {"worker": f"{pool}@{os.uname().nodename}", "pool": pool, "hostname": os.uname().nodename}
                    for pool in ("default", "absent")
                ]
            )
        )
        self.environment = {
            **environment,
            "CELERY_EXPORTER_LISTEN": f"127.0.0.1:{self.port}",
            "CELERY_EXPORTER_EXPECTED": str(directory / "expected.json"),
        }
        self.trusting: ssl.SSLContext | None = None  # by TLS, if there is one
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [*DIES_WITH_US, sys.executable, "-m", "celery_fleet.exporter"]
        self.process = subprocess.Popen(command, env=self.environment)
        eventually(lambda: self.get("/healthz")[0], what="an answer of the exporter")

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0: nobody answers."""
        try:
            url = f"{'https' if self.trusting else 'http'}://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=20, context=self.trusting) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def scrape(self) -> Scraped:
        status, text = self.get("/metrics")
        assert status == 200
        return Scraped(text)

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def environment(services: Services, record: Path) -> dict[str, str]:
    return {**services.environment(APP, VARIABLES, APPS, QUEUES), "RECORD": str(record)}


@pytest.fixture
def exporter(environment: dict[str, str], tmp_path: Path) -> Iterator[ExporterProcess]:
    exporter = ExporterProcess(environment, tmp_path)
    exporter.start()
    yield exporter
    assert exporter.stop() == 0


@pytest.fixture
def app(installed: Installed, environment: dict[str, str]) -> Any:
    return installed("consoleapp", APPS, environment)


def until(
    exporter: ExporterProcess, found: Callable[[Scraped], Any], what: str, patience: float = 60
) -> Scraped:
    """The first scrape of which it is so."""
    last: list[Scraped] = []

    def look() -> Scraped | None:
        last[:] = [exporter.scrape()]
        time.sleep(0.3)
        return last[0] if found(last[0]) else None

    scraped: Scraped = eventually(look, patience, what)
    return scraped


def test_figures_are_what_was_counted_after_restarts_of_exporter_and_redis_too(
    exporter: ExporterProcess, app: Any, environment: dict[str, str], services: Services
) -> None:
    """30 succeed, 4 fail, 2 are retried twice and then fail; of two queues."""
    here = os.uname().nodename
    worker = services.worker(environment, concurrency=2).wait_ready()
    module = app
    for number in range(20):
        module.calculate.delay(number)
    for number in range(10):
        module.process.apply_async((number,), queue="email")
    for _ in range(4):
        module.fail.delay("no")
    for _ in range(2):
        module.unsteady.delay()
    node = f"default@{here}"

    def counted(scraped: Scraped) -> bool:
        return (
            scraped.sum("celery_task_succeeded_total") == 30 and scraped.sum("celery_task_failed_total") == 6
        )

    scraped = until(exporter, counted, "all ends are counted")

    def check(scraped: Scraped) -> None:
        for name, labels, value in (
            ("received", {}, 36),
            ("received", {"name": "consoleapp.process", "queue_name": "email", "worker": node}, 10),
            ("received", {"queue_name": "celery", "hostname": here}, 26),
            ("started", {}, 40),  # six attempts of those that are retried
            ("succeeded", {"name": "consoleapp.calculate"}, 20),
            ("failed", {"name": "consoleapp.fail", "exception": "ValueError"}, 4),
            ("failed", {"name": "consoleapp.unsteady", "exception": "ConnectionError"}, 2),
            ("retried", {"name": "consoleapp.unsteady"}, 4),
        ):
            assert scraped.sum(f"celery_task_{name}_total", **labels) == value, (name, labels)
        assert scraped.sum("celery_task_runtime_count", queue_name="email") == 10
        assert scraped.sum("celery_task_runtime_bucket", queue_name="celery", le="+Inf") == 20
        assert scraped.sum("celery_task_queue_wait_time_count") == 40
        assert scraped.sum("task_completions_total", status="success") == 30
        assert scraped.sum("celery_dead_letters") == scraped.sum("tasks_in_dlq_total") == 6
        assert scraped.sum("celery_dead_letters", queue_name="celery", reason="exhausted") == 2

    check(scraped)
    assert scraped.sum("celery_worker_up", worker=node) == 1
    assert scraped.sum("celery_worker_up", worker=f"absent@{here}") == 0
    assert scraped.sum("celery_worker_expected") == 2
    assert scraped.sum("celery_worker_concurrency", worker=node) == 2
    assert scraped.sum("celery_queue_consumers", queue_name="email") == 1
    assert scraped.sum("celery_exporter_redis_up") == 1

    assert exporter.stop() == 0
    exporter.start()
    check(exporter.scrape())
    time.sleep(1.5)  # the append-only file is synced once a second
    services.server.stop()
    services.server.start()
    check(until(exporter, lambda s: s.sum("celery_exporter_redis_up") == 1, "Redis answers again"))
    worker.stop()
    gone = until(exporter, lambda s: s.sum("celery_worker_up", worker=node) == 0, "the stop is seen", 20)
    assert gone.sum("celery_queue_consumers", queue_name="email") == 0
    assert gone.sum("celery_worker_expected", worker=node) == 1


def test_what_waits_by_priority_and_for_how_long(
    exporter: ExporterProcess, app: Any, redis_server: RedisServer
) -> None:
    """Nobody consumes: what waits is told all the same."""
    began = time.time()
    for priority, count in ((1, 3), (5, 2), (10, 4)):
        for _ in range(count):
            app.calculate.apply_async((1,), priority=priority)
    app.calculate.apply_async(  # it shows in argsrepr
        ('", "fleet_since": 1, "eta": "2001-01-01T00:00:00+00:00',), priority=7
    )
    time.sleep(1.2)
    scraped = exporter.scrape()
    assert scraped.sum("celery_queue_length", queue_name="celery") == 10
    assert [
        scraped.sum("celery_queue_priority_length", queue_name="celery", priority=str(p))
        for p in (1, 5, 7, 10)
    ] == [3, 2, 1, 4]
    age = scraped.sum("celery_queue_oldest_message_age_seconds", queue_name="celery")
    assert age is not None
    assert 1.1 <= age <= time.time() - began + 0.1
    assert scraped.sum("celery_queue_oldest_message_age_seconds", queue_name="email") == 0
    assert scraped.sum("celery_queue_consumers", queue_name="celery") == 0
    # What is sent by a program that stamps nothing: not known is not zero.
    with redis_server.client() as client:
        client.lpush("email", json.dumps({"body": "", "headers": {"id": "x"}, "properties": {}}))
    scraped = until(exporter, lambda s: s.sum("celery_queue_length", queue_name="email") == 1, "it waits")
    assert scraped.sum("celery_queue_oldest_message_age_seconds", queue_name="email") is None


def test_a_killed_worker_is_down_within_seconds_and_what_it_holds_is_seen(
    exporter: ExporterProcess, app: Any, environment: dict[str, str], services: Services
) -> None:
    node = f"default@{os.uname().nodename}"
    worker: Service = services.worker(environment, concurrency=2).wait_ready()
    app.nap.delay(30)
    busy = until(exporter, lambda s: s.sum("celery_worker_tasks_active", worker=node) == 1, "the task runs")
    assert busy.sum("celery_unacked_messages", worker=node) == 1
    assert busy.sum("celery_queue_unacked", queue_name="celery") == 1
    grown = until(
        exporter, lambda s: (s.sum("celery_worker_oldest_task_age_seconds") or 0) > 2, "its age grows"
    )
    assert (grown.sum("celery_unacked_oldest_age_seconds", worker=node) or 0) > 2
    assert 2 / 60 < (grown.sum("celery_worker_task_limit_used_ratio", worker=node) or 0) < 1
    worker.kill()
    killed = time.monotonic()
    down = until(exporter, lambda s: s.sum("celery_worker_up", worker=node) == 0, "it is down")
    assert time.monotonic() - killed < 15
    assert down.sum("celery_worker_expected", worker=node) == 1
    assert down.sum("celery_worker_tasks_active", worker=node) is None, "what it said is not told any more"
    assert down.sum("celery_queue_consumers", queue_name="celery") == 0


def test_what_is_held_is_counted_where_it_is(
    exporter: ExporterProcess, redis_server: RedisServer, app: Any
) -> None:
    """400 messages of 50 kB: they stay in Redis; entries are as kombu and the claim write them."""
    body = json.dumps({"body": 'x, "email"]' + "x" * 50_000, "headers": {}})
    bulk = {f"tag{number}": f'[{body}, "", "bulk"]' for number in range(400)}
    odd = {
        "a": f'[{body}, "celery", ""]',
        "b": f'[{body}, "celery", null]',
        "c": f'[{body},"","celery"]',
        "d": "no JSON",
        "e": r'[{"body": ""}, "", "of \"nobody"]',
    }
    with redis_server.client() as client:
        for node, held in ((":default@a", bulk), ("", odd)):
            client.hset(f"unacked{node}", mapping=held)  # type: ignore[arg-type]
            client.zadd(f"unacked_index{node}", dict.fromkeys(held, time.time()))
        client.zadd("unacked_index", {"acknowledged meanwhile": time.time()})

        def scrape() -> tuple[Scraped, int]:
            """And how many bytes left Redis for it."""
            time.sleep(1.1)  # an earlier reading is shared for a second
            before = client.info("stats")["total_net_output_bytes"]
            return exporter.scrape(), client.info("stats")["total_net_output_bytes"] - before

        scraped, sent = scrape()
        client.hdel("unacked:default@a", "tag0")
        client.zrem("unacked_index:default@a", "tag0")
        again, sent_again = scrape()
    assert scraped.sum("celery_queue_unacked", queue_name="bulk") == 400
    assert scraped.sum("celery_queue_unacked", queue_name="celery") == 3
    assert scraped.sum("celery_queue_unacked", queue_name="email") == 0
    assert scraped.sum("celery_unacked_messages", worker="default@a") == 400
    assert scraped.sum("celery_unacked_messages", worker="") == 5
    assert again.sum("celery_queue_unacked", queue_name="bulk") == 399
    assert max(sent, sent_again) < 100_000


def test_what_cannot_be_read_is_not_told_as_redis_away(
    exporter: ExporterProcess, redis_server: RedisServer, app: Any
) -> None:
    with redis_server.client(STATE_DATABASE) as client:
        client.hset("fleet:presence", "default@a", "{")
        time.sleep(1.1)
        status, text = exporter.get("/metrics")
        assert (status, text.partition(":")[0]) == (500, "JSONDecodeError")
        status, text = exporter.get("/healthz")
        assert (status, json.loads(text)["reason"].partition(":")[0]) == (503, "JSONDecodeError")
        client.hdel("fleet:presence", "default@a")
    scraped = exporter.scrape()
    assert scraped.sum("celery_exporter_redis_up") == 1
    assert scraped.sum("celery_exporter_read_errors_total") == 2


def test_without_redis_it_answers_at_once_and_tells_nothing_stale(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    own_redis_server.start()
    services = Services(own_redis_server, tmp_path)
    exporter = ExporterProcess(services.environment(APP, VARIABLES, APPS, QUEUES), tmp_path)
    exporter.start()
    try:
        assert exporter.get("/healthz") == (200, '{"status": "ok"}\n')
        own_redis_server.stop()
        down = until(exporter, lambda s: s.sum("celery_exporter_redis_up") == 0, "it is noticed")
        began = time.monotonic()
        exporter.scrape()
        assert time.monotonic() - began < 3
        assert down.sum("celery_worker_expected") == 2
        assert down.sum("celery_queue_slo_target_seconds", queue_name="bulk", indicator="execution") == 1800
        assert down.sum("celery_queue_slo_target_seconds", queue_name="bulk", indicator="queueing") is None
        for name in (
            "celery_queue_length",
            "celery_worker_up",
            "celery_task_received_total",
            "tasks_in_dlq_total",
        ):
            assert down.sum(name) is None, name
        status, body = exporter.get("/healthz")
        assert (status, json.loads(body)["status"]) == (503, "unavailable")
        own_redis_server.start()
        back = until(exporter, lambda s: s.sum("celery_exporter_redis_up") == 1, "it is back")
        assert (back.sum("celery_exporter_read_errors_total") or 0) >= 1
    finally:
        exporter.stop()


def test_by_tls_nobody_gets_figures_in_clear_and_nobody_waits_for_who_says_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    certificate = tmp_path / "host.pem"
    certify(certificate)
    files = {
        "CELERY_EXPORTER_CERTIFICATE_FILE": str(certificate),
        "CELERY_EXPORTER_CERTIFICATE_KEY_FILE": str(certificate.with_suffix(".key")),
    }
    exporter = ExporterProcess({**environment, **files}, tmp_path)
    exporter.trusting = ssl.create_default_context(cafile=certificate)
    exporter.start()
    try:
        with contextlib.ExitStack() as silent:
            for _ in range(20):
                silent.enter_context(socket.create_connection(("127.0.0.1", exporter.port)))
            assert exporter.scrape().sum("celery_exporter_redis_up") == 1
        exporter.trusting = None
        assert exporter.get("/metrics") == (0, "")
    finally:
        assert exporter.stop() == 0


def test_a_certificate_that_cannot_be_used_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("host.pem", "other.pem"):
        certify(tmp_path / name)
    exporter = ExporterProcess(environment, tmp_path)
    settings = {
        **exporter.environment,
        "CELERY_EXPORTER_CERTIFICATE_FILE": str(tmp_path / "host.pem"),
        "CELERY_EXPORTER_CERTIFICATE_KEY_FILE": str(tmp_path / "other.key"),
    }
    command = [sys.executable, "-m", "celery_fleet.exporter"]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "CELERY_EXPORTER_CERTIFICATE_FILE" in ended.stderr


def test_its_user_may_read_all_of_it_and_change_nothing(tmp_path: Path) -> None:
    """With the rights that role redis gives: nothing is refused."""
    broker = Broker(tmp_path)
    try:
        with broker.as_user("worker", 2) as worker:
            DeadLetters(worker, 10, 100).add(DeadLetter("t1", "a", "celery", "failed"))
            Presences(worker).write(PRESENCE)
        with broker.as_user("worker") as worker:
            worker.lpush("celery", "{}")
            worker.hset("unacked:default@a", "tag", json.dumps([{}, "celery", "celery"]))
            worker.zadd("unacked_index:default@a", {"tag": 1.0})
            worker.hset("fleet:leases", "default@a", json.dumps({"node": "default@a", "at": 1}))
            worker.hdel("fleet:leases", "default@a")
            worker.set("fleet:owner:default@b", "", ex=600)
        (tmp_path / "topology.json").write_text(
            json.dumps(topology_document({"celery_app": APP, "celery_queues": {"celery": {}, "email": {}}}))
        )
        (tmp_path / "password").write_text(broker.passwords["celery_exporter"])
        url = f"redis://celery_exporter@127.0.0.1:{broker.port}"
        exporter = Exporter(
            Settings.read(
                {
                    "CELERY_FLEET_TOPOLOGY": str(tmp_path / "topology.json"),
                    "CELERY_BROKER_URL": f"{url}/0",
                    "CELERY_RESULT_BACKEND": f"{url}/1",
                    "CELERY_FLEET_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
                }
            )
        )
        broker.refused()
        scraped = Scraped(exporter.metrics())
        exporter.fleet.close()
        assert broker.refused() == []
        assert scraped.sum("celery_exporter_redis_up") == 1
        assert scraped.sum("celery_queue_length", queue_name="celery") == 1
        assert scraped.sum("celery_unacked_messages") == 1
        with broker.as_user("celery_exporter") as client:
            for command in (
                ("LPUSH", "celery", "x"),
                ("DEL", "fleet:leases"),
                ("GET", "celery-task-meta-x"),
                ("CONFIG", "GET", "*"),
            ):
                with pytest.raises(Exception, match="no permissions"):
                    client.execute_command(*command)
    finally:
        broker.stop()
