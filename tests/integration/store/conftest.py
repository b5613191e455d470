"""The app `endings`, a producer of its tasks, and the fleet's stores as an operator has them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_fleet.store.connection import state_client
from celery_fleet.store.deadletters import DeadLetters
from celery_fleet.store.index import TaskIndex
from integration.support import Installed, Services

APPS = Path(__file__).parent / "apps"

VARIABLES: dict[str, Any] = {
    "celery_queues": {"celery": {}, "other": {}},
    "celery_task_routes": [],
    "celery_retry": {"max_retries": 0, "delay": 1},
    "celery_time_limit": 60,
    "celery_soft_time_limit": 50,
}


class Fleet:
    """What the test's own process knows of the fleet."""

    def __init__(self, module: Any) -> None:
        self.tasks = module
        self.app = module.app
        self.client: redis.Redis = state_client(self.app)
        self.letters = DeadLetters(self.client, 1000, 3600)
        self.index = TaskIndex(self.client, 1000, 3600)

    def push(self, raw: str, queue: str = "celery") -> None:
        """Puts bytes into a queue as any program might."""
        with self.app.connection_for_write() as connection:
            connection.default_channel.client.lpush(queue, raw)


@pytest.fixture
def environment(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    def make(variables: Mapping[str, Any] = VARIABLES) -> dict[str, str]:
        return {
            **services.environment("endings:app", variables, APPS, "celery,other"),
            "RECORD": str(record),
        }

    return make


@pytest.fixture
def fleet_of(installed: Installed) -> Callable[[Mapping[str, str]], Fleet]:
    """fleet_of(environment) -> Fleet."""
    return lambda environment: Fleet(installed("endings", APPS, environment))
