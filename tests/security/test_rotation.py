"""New passwords of Redis and new keys of the console, while tasks and requests go on: none is lost, none fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
import redis

from acceptance.application import SLEEP, Application, Task
from acceptance.playbook import ROTATE, ROTATE_FINISH, Playbooks
from consoles import Console, deployed
from fleetsecrets import secrets_of
from hosts import Fleet

INSIDE = ("redis-admin", "redis-worker", "redis-beat", "redis-console", "redis-flower", "redis-exporter")
OUTSIDE = ("redis-client", "console-operator", "console-viewer")
"""Who is not of the fleet has to be told, and may come with the old one until then."""
WORKERS = "/api/v1/workers"


@dataclass
class Load:
    """What was asked of the fleet meanwhile."""

    tasks: list[Task] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Sender(Protocol):
    """Who sends tasks: the application, or somebody for it."""

    def send(self, name: str, /, queue: str, **kwargs: Any) -> Task: ...


@contextmanager
def load(app: Sender, console: Console, queue: str = "default") -> Iterator[Load]:
    """Tasks are sent and pages are asked for, some ten a second, by those that were there before."""
    load, over = Load(), threading.Event()

    def again(step: Callable[[], None]) -> None:
        while not over.wait(0.1):
            try:
                step()
            except Exception as error:
                load.errors.append(repr(error))

    def ask() -> None:
        load.answers.append(console.request("GET", WORKERS)[0])

    def send() -> None:
        load.tasks.append(app.send(SLEEP, queue, seconds=0.1))

    threads = [threading.Thread(target=again, args=(step,), daemon=True) for step in (ask, send)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@dataclass(frozen=True)
class Rotation:
    """The secrets before, the console as it was known then, and what was asked of the fleet during the rotation."""

    before: Mapping[str, str]
    console: Console
    load: Load


@pytest.fixture(scope="module")
def rotation(playbooks: Playbooks, fleet: Fleet, app: Application) -> Rotation:
    playbooks.converged_to()
    before, console = dict(secrets_of(fleet)), deployed(fleet)
    with load(app, console) as found:
        time.sleep(2)
        playbooks.run(ROTATE)
        time.sleep(2)
    return Rotation(before, console, found)


def accepted(fleet: Fleet, name: str, password: str) -> bool:
    """Whether Redis lets a user in."""
    variables = fleet.variables(fleet.groups["redis"][0])
    tls = bool(variables.get("celery_tls"))
    client = redis.Redis(
        host=variables["ansible_host"],
        port=variables.get("redis_tls_port", 6380) if tls else variables.get("redis_port", 6379),
        username=name.removeprefix("redis-"),
        password=password,
        ssl=tls,
        ssl_ca_certs=f"{variables['fleet_secrets_dir']}/certificates/authority.pem",
    )
    try:
        with client:
            return bool(client.ping())
    except redis.AuthenticationError:
        return False


def test_no_task_is_lost(rotation: Rotation) -> None:
    assert rotation.load.errors == []
    assert len(rotation.load.tasks) > 100
    assert {task.until("SUCCESS", "FAILURE", "REVOKED", patience=120) for task in rotation.load.tasks} == {
        "SUCCESS"
    }


def test_no_request_fails(rotation: Rotation) -> None:
    assert len(rotation.load.answers) > 100
    assert set(rotation.load.answers) == {200}


def test_every_secret_is_another(rotation: Rotation, fleet: Fleet) -> None:
    now = secrets_of(fleet)
    files = [
        name for name in rotation.before if "/" not in name and not name.endswith((".next", ".previous"))
    ]
    assert set(INSIDE) | set(OUTSIDE) <= set(files)
    assert [name for name in files if now[name] == rotation.before[name]] == []


@pytest.mark.parametrize("name", INSIDE)
def test_the_old_passwords_of_the_fleet_are_refused(rotation: Rotation, fleet: Fleet, name: str) -> None:
    assert accepted(fleet, name, secrets_of(fleet)[name])
    assert not accepted(fleet, name, rotation.before[name])


def test_those_outside_may_come_with_both(rotation: Rotation, fleet: Fleet) -> None:
    now = secrets_of(fleet)
    for secrets in (rotation.before, now):
        assert accepted(fleet, "redis-client", secrets["redis-client"])
        assert rotation.console.request("GET", WORKERS, key=secrets["console-operator"])[0] == 200
        assert rotation.console.request("GET", WORKERS, key=secrets["console-viewer"])[0] == 200


def test_until_the_rotation_ends(rotation: Rotation, fleet: Fleet, playbooks: Playbooks) -> None:
    run = playbooks.run(ROTATE_FINISH)
    assert not any(step.startswith("celery_worker") for steps in run.changed.values() for step in steps)
    now: Mapping[str, Any] = secrets_of(fleet)
    assert not [name for name in now if name.endswith((".next", ".previous"))]
    time.sleep(3)  # the console looks for new keys every two seconds
    for secrets, good in ((rotation.before, False), (now, True)):
        assert accepted(fleet, "redis-client", secrets["redis-client"]) is good
        assert rotation.console.request("GET", WORKERS, key=secrets["console-operator"])[0] == (
            200 if good else 401
        )
        assert rotation.console.request("GET", WORKERS, key=secrets["console-viewer"])[0] == (
            200 if good else 401
        )
