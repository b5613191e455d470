"""The console, served in this process, on a real Redis and with real workers.

`client` asks with the key of an operator, `viewer` with one that may only look; `desk` has what they work on. A test
that needs workers calls `worker()`; one that looks at the fleet itself takes `desk.fleet`.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from kombu import pools

from celery_fleet.console.application import create_app
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.settings import Settings
from integration.support import RedisServer, Service, Services, eventually, free_port

APP = "consoleapp:app"
APPS = Path(__file__).parent / "apps"
QUEUES = "celery,email,bulk"

VARIABLES: dict[str, Any] = {
    "celery_queues": {"celery": {}, "email": {"priority": 3}, "bulk": {"priority": 2, "urgency": "bulk"}},
    "celery_task_routes": [{"task": "mail.*", "queue": "email"}],
    "celery_retry": {"delay": 1, "max_retries": 2},
    "celery_time_limit": 60,
    "celery_soft_time_limit": 50,
    "celery_task_types": {"process": "consoleapp.process", "calculate": "consoleapp.calculate"},
}

OPERATOR, VIEWER = "key-of-an-operator", "key-of-a-viewer"
KEYS = {"ann": (OPERATOR, "operator"), "vic": (VIEWER, "viewer"), "bob": ("key-of-bob", "operator")}


def keys_file(directory: Path, keys: Mapping[str, tuple[str, str]] = KEYS) -> Path:
    """A file of keys, as the role writes it."""
    path = directory / "keys.json"
    said = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role}
        for name, (key, role) in keys.items()
    }
    path.write_text(json.dumps(said))
    return path


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of the console, which a thread serves meanwhile."""
    port = free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, ws="none", log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), what="the start of the console")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def client_of(url: str, key: str = "") -> httpx.Client:
    """Who has this key, or nobody."""
    return httpx.Client(base_url=url, headers={"X-API-Key": key} if key else {}, timeout=30)


@dataclass(frozen=True)
class Desk:
    """A console at work."""

    url: str
    app: FastAPI
    fleet: Fleet
    server: RedisServer
    record: Path

    @property
    def recorded(self) -> list[str]:
        """What tasks have written."""
        return self.record.read_text().splitlines()


@pytest.fixture
def variables() -> dict[str, Any]:
    """The inventory's; a module may have its own."""
    return VARIABLES


@pytest.fixture
def environment(services: Services, record: Path, variables: dict[str, Any]) -> dict[str, str]:
    """Of the pool, and of the console."""
    return {**services.environment(APP, variables, APPS, QUEUES), "RECORD": str(record)}


@pytest.fixture
def settings(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of the console; a test may change it before it asks for a client."""
    return {
        **environment,
        "CONSOLE_KEYS_FILE": str(keys_file(tmp_path)),
        "CONSOLE_TRACE_URL": "http://traces.example/trace/{trace_id}",
        "CONSOLE_RATE": "100000",
    }


@pytest.fixture
def fleet_app(settings: dict[str, str]) -> Iterator[FastAPI]:
    yield create_app(Settings.read(settings))
    pools.reset()


@pytest.fixture
def desk(fleet_app: FastAPI, redis_server: RedisServer, record: Path) -> Iterator[Desk]:
    with served(fleet_app) as url:
        yield Desk(url, fleet_app, fleet_app.state.fleet, redis_server, record)


@pytest.fixture
def client(desk: Desk) -> Iterator[httpx.Client]:
    """An operator's."""
    with client_of(desk.url, OPERATOR) as made:
        yield made


@pytest.fixture
def viewer(desk: Desk) -> Iterator[httpx.Client]:
    """Of one who may look."""
    with client_of(desk.url, VIEWER) as made:
        yield made


@pytest.fixture
def worker(services: Services, environment: dict[str, str]) -> Callable[..., Service]:
    """worker(pool="prefork", concurrency=1) returns a ready worker of all queues, whose tasks are known."""

    def start(pool: str = "prefork", concurrency: int = 1) -> Service:
        service = services.worker(environment, pool=pool, concurrency=concurrency).wait_ready()
        with services.server.client(2) as state:
            eventually(lambda: state.exists("fleet:catalogue"), what="the catalogue")
            eventually(lambda: state.exists("fleet:presence"), what="the presence of the worker")
        return service

    return start


def wait_status(client: httpx.Client, task_id: str, *statuses: str) -> dict[str, Any]:
    """The task, once it has one of these."""

    def found() -> dict[str, Any] | None:
        answer = client.get(f"/api/v1/tasks/{task_id}")
        data: dict[str, Any] = answer.json()
        return data if answer.status_code == 200 and data["status"] in statuses else None

    known: dict[str, Any] = eventually(found, what=f"{' or '.join(statuses)} of {task_id}")
    return known
