"""Everything that goes by Redis goes by TLS, too; who is not who the certificate says is not talked to."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chord, group

from celery_fleet.store.connection import state_client
from integration.runtime.plain import environment_maker
from integration.support import RedisServer, certify, eventually, free_port

LARGE = 300_000
"""Characters: more than a record of TLS holds, and than a socket gives at once."""


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "tls"
    directory.mkdir()
    server = RedisServer(directory, free_port(), tls=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def environment(services, record, tls_server):
    services.server = tls_server
    return environment_maker(services, record)


def connections(server: RedisServer) -> int:
    """How many there have been."""
    with server.client() as client:
        return int(client.info("stats")["total_connections_received"])


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_tasks_results_and_control(pool, environment, producer, services):
    settings = environment()
    worker = services.worker(settings, pool=pool, concurrency=4).wait_ready()
    tasks = producer(settings)
    before = connections(services.server)
    assert group(tasks.add.s(n, 1) for n in range(200))().get(timeout=60) == list(range(1, 201))
    assert connections(services.server) - before < 50, "tasks do not connect one by one"
    assert chord(tasks.add.s(n, n) for n in range(20))(tasks.total.s()).get(timeout=60) == 380
    large = "x" * LARGE
    assert [tasks.add.delay(large, "y") for _ in range(5)][-1].get(timeout=60) == large + "y"
    later = tasks.add.apply_async((1, 2), countdown=2)
    cancelled = tasks.add.apply_async((1, 2), countdown=3600)
    assert later.get(timeout=60) == 3
    cancelled.revoke()
    eventually(lambda: tasks.app.control.inspect().ping(), what="an answer of the worker")
    with services.server.client(2) as client:
        eventually(lambda: client.keys("fleet:*"), what="what the worker notes")
    assert state_client(tasks.app).ping()
    assert worker.process.poll() is None


def test_redis_is_lost_and_comes_back(environment, producer, services, tls_server):
    settings = environment()
    services.worker(settings).wait_ready()
    tasks = producer(settings)
    assert tasks.add.delay(1, 2).get(timeout=60) == 3
    sent = tasks.add.apply_async((3, 4), countdown=3)
    tls_server.stop()
    tls_server.start()
    assert sent.get(timeout=60) == 7


@pytest.mark.parametrize("fault", ["another authority", "another name"])
def test_another_server_is_not_talked_to(fault, environment, services, tls_server):
    settings = environment()
    shown = {"another authority": "IP:127.0.0.1", "another name": "IP:127.0.0.2"}[fault]
    tls_server.stop()
    trusted = tls_server.directory / "trusted.pem"
    certify(tls_server.certificate, shown)
    shutil.copy(tls_server.certificate, trusted)
    if fault == "another authority":
        certify(tls_server.certificate, shown)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        settings[name] = settings[name].replace(str(tls_server.certificate), str(trusted))
    tls_server.start()
    worker = services.worker(settings)
    worker.wait_log("certificate verify failed")
    assert "READY=1" not in worker.notifications.lines
