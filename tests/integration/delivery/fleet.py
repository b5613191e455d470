"""Workers of the app `deliveries`, to be killed and started at will."""

import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration.support import Service, Services, eventually

APPS = Path(__file__).parent / "apps"
VARIABLES: dict[str, Any] = {
    "celery_queues": {"celery": {}, "other": {}},
    "celery_task_routes": [],
    "celery_retry": {"max_retries": 1, "delay": 1},
    "celery_time_limit": 120,
    "celery_soft_time_limit": 110,
    "celery_recovery_timeout": 600,
}
PATIENCE = 60.0


@dataclass
class Fleet:
    """What a test does with workers; `app`: the module, as a producer has it."""

    services: Services
    directory: Path
    app: Any
    environment: dict[str, str]

    def worker(
        self, pool: str = "prefork", concurrency: int = 2, ready: bool = True, **environment: str
    ) -> Service:
        service = self.services.worker(
            {**self.environment, **environment}, concurrency=concurrency, pool=pool
        )
        return service.wait_ready(PATIENCE) if ready else service

    @property
    def gate(self) -> str:
        return str(self.directory / "gate")

    def open_gate(self) -> None:
        Path(self.gate).touch()

    def lines(self, word: str) -> list[str]:
        """What the tasks recorded by this word, in order."""
        text = (self.directory / "record").read_text()
        return [line.split()[1] for line in text.splitlines() if line.split()[0] == word]

    def count(self, word: str) -> Counter[str]:
        return Counter(self.lines(word))

    def wait(self, word: str, times: int, patience: float = PATIENCE) -> None:
        eventually(lambda: len(self.lines(word)) >= times, patience, f"{times} times {word!r}")


def children(service: Service) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]
