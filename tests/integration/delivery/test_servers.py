"""Redis behind TLS, and one that fails over by Sentinel."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection

from celery_fleet.delivery import results, transport
from integration.delivery.conftest import OPTIONS, Inbox, publish
from integration.support import eventually, free_port

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(*options) -> the port of a redis-server with these options."""
    running = []

    def run(*options: str, port_option: str = "--port", sentinel: str = "") -> int:
        port = free_port()
        directory = tmp_path / f"redis-{port}"
        directory.mkdir()
        arguments = ["--bind", "127.0.0.1", port_option, str(port), "--dir", str(directory), "--save", ""]
        if sentinel:
            (directory / "sentinel.conf").write_text(sentinel)
            arguments = [
                str(directory / "sentinel.conf"),
                "--sentinel",
                "--bind",
                "127.0.0.1",
                "--port",
                str(port),
            ]
        with (directory / "log").open("wb") as log:
            running.append(subprocess.Popen(["redis-server", *arguments, *options], stdout=log, stderr=log))
        return port

    yield run
    for process in running:
        process.kill()
        process.wait()


def answers(port: int, **options: Any) -> None:
    def ping() -> bool:
        with redis.Redis(port=port, **options) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    eventually(ping, what="the start of Redis")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """(certificate, key): a self-signed one for this machine."""
    crt, key = tmp_path / "crt", tmp_path / "key"
    request = ["-newkey", "rsa:2048", "-nodes", "-x509", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", *request, *names, "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    return str(crt), str(key)


def test_tls(start, certificate):
    crt, key = certificate
    tls = (
        "--tls-cert-file",
        crt,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        crt,
        "--tls-auth-clients",
        "no",
    )
    port = start("--port", "0", *tls, port_option="--tls-port")
    answers(port, ssl=True, ssl_ca_certs=crt)
    url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={crt}"
    with (
        Connection(url, transport=transport.Transport, transport_options=OPTIONS) as producer,
        Connection(url, transport=transport.Transport, transport_options=OPTIONS) as consumer,
    ):
        inbox = Inbox(consumer, "q")
        inbox.drain(1, patience=0.4)
        publish(producer, "q", "x")
        assert inbox.drain(1) == ["x"]
        inbox.messages[0].ack()
    app = Celery(set_as_current=False, backend=url)
    app.loader.override_backends = results.SCHEMES
    app.backend.store_result("id", 1, "SUCCESS")
    app.backend.store_result("id", 2, "STARTED")
    assert app.AsyncResult("id").get() == 1
    app.close()


def test_sentinel_fails_over(start):
    """The master is gone for good: what it had confirmed to its replica is delivered by the new one."""
    master = start()
    answers(master)
    replica = start("--replicaof", "127.0.0.1", str(master), "--repl-diskless-sync-delay", "0")
    answers(replica)
    watch = (
        f"sentinel monitor m 127.0.0.1 {master} 1\nsentinel down-after-milliseconds m 500\n"
        "sentinel failover-timeout m 3000\n"
    )
    sentinel = start(sentinel=watch)
    answers(sentinel)
    options = {**OPTIONS, "master_name": "m", "socket_timeout": 2, "socket_connect_timeout": 2}
    url = f"sentinel://127.0.0.1:{sentinel}/0"

    def connection() -> Connection:
        return Connection(url, transport=transport.SentinelTransport, transport_options=options)

    with redis.Redis(port=sentinel) as client:
        eventually(lambda: client.sentinel_slaves("m"), what="the replica in Sentinel's eyes")
    with connection() as producer, connection() as consumer:
        inbox = Inbox(consumer, "q", prefetch=1)
        publish(producer, "q", 1)
        publish(producer, "q", 2)
        assert inbox.drain(1) == [1]
        with redis.Redis(port=master) as client:
            client.wait(1, 5000)
            client.shutdown(nosave=True, now=True)
        with redis.Redis(port=sentinel) as client:
            eventually(lambda: client.sentinel_get_master_addr_by_name("m")[1] == replica, 30, "the failover")
        inbox.messages[0].ack()  # by the new master
        with redis.Redis(port=replica) as client:
            eventually(
                lambda: client.hlen("unacked:test@here") == 0 or _pay(inbox), what="the acknowledgement"
            )
        inbox.messages.clear()
        end = time.monotonic() + 20
        while not inbox.messages and time.monotonic() < end:
            try:
                consumer.drain_events(timeout=0.5)
            except (TimeoutError, redis.RedisError):
                continue
        assert inbox.bodies == [2]


def _pay(inbox: Inbox) -> bool:
    """As the keeper of a worker does each second."""
    inbox.channel.giver.pay(inbox.channel.custody)
    return False
