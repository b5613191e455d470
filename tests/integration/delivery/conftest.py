"""Connections by the atomic transport and by kombu's own, on a real Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.transport import redis as stock

from celery_fleet.delivery import transport
from integration.delivery.fleet import APPS, VARIABLES, Fleet
from integration.support import PASSWORD, USER, Installed, RedisServer, Services

NODE = "test@here"
OPTIONS: dict[str, Any] = {
    "priority_steps": list(range(10)),
    "unacked_key": f"unacked:{NODE}",
    "unacked_index_key": f"unacked_index:{NODE}",
    "health_check_interval": 5,
}


def url_of(server: RedisServer, database: int = 0) -> str:
    return f"redis://{USER}:{quote(PASSWORD, safe='')}@{server.host}/{database}"


def queue(name: str, **more: Any) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name, **more)


Connect = Callable[..., Connection]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """As the modules of delivery get it: nothing is decoded."""
    with redis.Redis(port=redis_server.port, username=USER, password=PASSWORD, protocol=2) as made:
        yield made


@pytest.fixture
def connect(redis_server: RedisServer) -> Iterator[Connect]:
    """connect(kind="atomic", **transport_options) -> a connection; kind "stock" is kombu's own transport."""
    made: list[Connection] = []

    def make(kind: str = "atomic", **options: Any) -> Connection:
        chosen = transport.Transport if kind == "atomic" else stock.Transport
        connection = Connection(
            url_of(redis_server), transport=chosen, transport_options={**OPTIONS, **options}
        )
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.release()


class Inbox:
    """Consumes queues by one connection, as a worker with credit for `prefetch` messages does."""

    def __init__(self, connection: Connection, *names: str, no_ack: bool = False, prefetch: int = 0) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        self.channel = connection.default_channel
        self.channel.basic_qos(0, prefetch, False)
        self.consumer = connection.Consumer(
            [queue(name) for name in names], on_message=self.messages.append, no_ack=no_ack
        )
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.decode() for message in self.messages]

    def drain(self, wanted: int, patience: float = 10.0) -> list[Any]:
        """The bodies, as soon as there are so many."""
        for _ in range(int(patience / 0.2)):
            if len(self.messages) >= wanted:
                break
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                continue
        return self.bodies


def publish(connection: Connection, name: str, body: Any, **options: Any) -> None:
    wanted = queue(name)
    with connection.Producer() as producer:
        producer.publish(body, exchange=wanted.exchange, routing_key=name, declare=[wanted], **options)


@pytest.fixture
def fleet(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Installed
) -> Iterator[Callable[..., Fleet]]:
    """fleet(**variables of the inventory) -> a Fleet whose workers consume both queues."""

    def make(**variables: Any) -> Fleet:
        (tmp_path / "record").touch()
        environment = {
            **services.environment("deliveries:app", {**VARIABLES, **variables}, APPS, "celery,other"),
            "RECORD": str(tmp_path / "record"),
        }
        monkeypatch.setenv("RECORD", environment["RECORD"])
        return Fleet(services, tmp_path, installed("deliveries", APPS, environment), environment)

    yield make
    for service in services.running:
        service.kill()
