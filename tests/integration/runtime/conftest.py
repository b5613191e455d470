"""The plain app, and a producer that sends its tasks from the test's own process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.runtime.plain import APP, APPS, VARIABLES
from integration.support import Installed, Services


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The file that the tasks of the plain app write to."""
    path = tmp_path / "record"
    path.touch()
    return path


@pytest.fixture
def producer(installed: Installed) -> Callable[[Mapping[str, str]], Any]:
    """producer(environment) -> the module plainapp, imported anew, with its app installed."""
    return lambda environment: installed("plainapp", APPS, environment)


@pytest.fixture
def environment(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    """environment(variables, queues) of a pool that runs the plain app."""

    def make(variables: Mapping[str, Any] = VARIABLES, queues: str = "celery,email") -> dict[str, str]:
        return {**services.environment(APP, variables, APPS, queues), "PLAIN_RECORD": str(record)}

    return make
