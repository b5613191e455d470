"""Workers of each kind, their tasks' record, and a producer in the test's own process."""

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from kombu import pools

from celery_fleet.install import install
from integration.support import Services, eventually

APPS = Path(__file__).parent / "apps"
LIMITS = {"celery_time_limit": 600, "celery_soft_time_limit": None}


@dataclass
class Record:
    """What the tasks wrote."""

    path: Path

    def count(self, what: str) -> Counter[str]:
        """How often each task has begun, or ended."""
        words = (line.split() for line in self.path.read_text().splitlines())
        return Counter(tag for event, tag in words if event == what)

    def wait(self, what: str, *tags: str, patience: float = 40) -> None:
        eventually(lambda: set(tags) <= set(self.count(what)), patience, what=f"the {what} of {tags}")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    path = tmp_path / "record"
    path.touch()
    return Record(path)


@pytest.fixture
def environment(services: Services, record: Record) -> Callable[..., dict[str, str]]:
    """environment(**variables of the inventory) of a pool that runs the app."""

    def make(**variables: Any) -> dict[str, str]:
        inventory = {"celery_time_limit": 600, "celery_soft_time_limit": 590, **variables}
        made = services.environment("serviceapp:app", inventory, APPS)
        return {**made, "SERVICE_RECORD": str(record.path), "CELERY_FLEET_STOP_TIMEOUT": "60"}

    return make


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, str]], Any]]:
    """producer(environment) -> the module serviceapp, imported anew, with its app installed."""
    apps = []
    shared = set(_state._on_app_finalizers)

    def load(environment: Mapping[str, str]) -> Any:
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.syspath_prepend(str(APPS))
        sys.modules.pop("serviceapp", None)
        module = importlib.import_module("serviceapp")
        install(module.app, environment)
        apps.append(module.app)
        return module

    yield load
    for app in apps:
        app.backend.client.close()
        app.close()
    pools.reset()
    _state._on_app_finalizers.intersection_update(shared)
