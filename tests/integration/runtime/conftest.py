"""The plain app, and a producer that sends its tasks from the test's own process."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from kombu import pools

from celery_fleet.install import install
from integration.runtime.plain import APP, APPS, VARIABLES
from integration.support import Services


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The file that the tasks of the plain app write to."""
    path = tmp_path / "record"
    path.touch()
    return path


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, str]], Any]]:
    """producer(environment) -> the module plainapp, imported anew, with its app installed."""
    apps = []
    shared = set(_state._on_app_finalizers)

    def load(environment: Mapping[str, str]) -> Any:
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.syspath_prepend(str(APPS))
        sys.modules.pop("plainapp", None)
        module = importlib.import_module("plainapp")
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
def environment(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    """environment(variables, queues) of a pool that runs the plain app."""

    def make(variables: Mapping[str, Any] = VARIABLES, queues: str = "celery,email") -> dict[str, str]:
        return {**services.environment(APP, variables, APPS, queues), "PLAIN_RECORD": str(record)}

    return make
