"""Workers of each kind, their tasks' record, and a producer in the test's own process."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.support import Installed, Services, eventually

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

    def pid(self, tag: str) -> int:
        """The process that runs a task that tells it."""
        found = next(iter(each for each in self.count("pid") if each.startswith(f"{tag}=")))
        return int(found.partition("=")[2])

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
def producer(installed: Installed) -> Callable[[Mapping[str, str]], Any]:
    """producer(environment) -> the module serviceapp, imported anew, with its app installed."""
    return lambda environment: installed("serviceapp", APPS, environment)
