"""The plain app, and a producer that sends its tasks from the test's own process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.runtime.plain import APPS, environment_maker
from integration.support import Installed, Services


@pytest.fixture
def producer(installed: Installed) -> Callable[[Mapping[str, str]], Any]:
    """producer(environment) -> the module plainapp, imported anew, with its app installed."""
    return lambda environment: installed("plainapp", APPS, environment)


@pytest.fixture
def environment(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    """environment(variables, queues) of a pool that runs the plain app."""
    return environment_maker(services, record)
