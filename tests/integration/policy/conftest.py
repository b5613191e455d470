"""The policy app, a producer that sends its tasks from the test's own process, and what its tasks wrote down."""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from celery_fleet.store.deadletters import DeadLetters
from integration.support import Installed, RedisServer, Services, eventually

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
def producer(installed: Installed) -> Callable[[Mapping[str, str]], Any]:
    """producer(environment) -> the module policyapp, imported anew, with its app installed."""
    return lambda environment: installed("policyapp", APPS, environment)


@pytest.fixture
def environment(services: Services, record: Record) -> Callable[..., dict[str, str]]:
    """environment(queues="a,b", celery_retry=..., ...) of a pool that runs the policy app."""

    def make(queues: str = "celery", **variables: Any) -> dict[str, str]:
        made = services.environment(APP, variables, APPS, queues)
        return {**made, "POLICY_RECORD": str(record.path)}

    return make
