"""The policy app, a producer that sends its tasks from the test's own process, and what its tasks wrote down."""

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from kombu import pools

from celery_fleet.install import install
from celery_fleet.store.deadletters import DeadLetters
from integration.support import RedisServer, Services, eventually

APP = "policyapp:app"
APPS = Path(__file__).parent / "apps"


class Record:
    """What the tasks of the policy app wrote down, as they ran."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, task: str = "") -> list[dict[str, Any]]:
        # A line may just be being written.
        lines = [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]
        return [line for line in lines if not task or line["task"] == task]

    def wait(self, number: int, task: str = "", patience: float = 60) -> list[dict[str, Any]]:
        """The lines, once there are so many."""
        eventually(
            lambda: len(self.lines(task)) >= number, patience, what=f"{number} runs of {task or 'tasks'}"
        )
        return self.lines(task)

    def delays(self, task: str) -> list[float]:
        """Seconds from each run to the next."""
        times = [line["at"] for line in self.lines(task)]
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def open_gate(self) -> None:
        Path(f"{self.path}.open").touch()


def dead_letters(server: RedisServer) -> DeadLetters:
    client = server.client(2)
    client.connection_pool.connection_kwargs["decode_responses"] = False
    return DeadLetters(client, 100, 1000)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record")


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, str]], Any]]:
    """producer(environment) -> the module policyapp, imported anew, with its app installed."""
    apps = []
    shared = set(_state._on_app_finalizers)

    def load(environment: Mapping[str, str]) -> Any:
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.syspath_prepend(str(APPS))
        sys.modules.pop("policyapp", None)
        module = importlib.import_module("policyapp")
        install(module.app, environment)
        apps.append(module.app)
        return module

    yield load
    for app in apps:
        app.backend.client.close()
        app.close()
    pools.reset()
    # Celery gives the tasks of each app to every app made later: not those of a module that is imported anew.
    _state._on_app_finalizers.intersection_update(shared)


@pytest.fixture
def environment(services: Services, record: Record) -> Callable[..., dict[str, str]]:
    """environment(queues="a,b", celery_retry=..., ...) of a pool that runs the policy app."""

    def make(queues: str = "celery", **variables: Any) -> dict[str, str]:
        made = services.environment(APP, variables, APPS, queues)
        return {**made, "POLICY_RECORD": str(record.path)}

    return make
