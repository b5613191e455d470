"""An app that is traced, by real workers and a real console, into a backend of this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consoles import ConsoleProcess
from integration.support import Service, Services, eventually
from otlp import Backend, Site, backend, site

APPS = Path(__file__).parent / "apps"
VARIABLES: dict[str, Any] = {
    "celery_retry": {"delay": 0, "max_retries": 2, "jitter": False},
    "celery_time_limit": 60,
    "celery_soft_time_limit": 50,
    "celery_task_routes": [
        {"task": "tracedapp.hang", "queue": "celery", "time_limit": 2, "soft_time_limit": None},
    ],
}


@pytest.fixture
def traces() -> Iterator[Backend]:
    with backend() as found:
        yield found


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as found:
        yield found


@pytest.fixture
def untraced(services: Services, record: Path, web: Site) -> dict[str, str]:
    """The environment of the pool, without traces."""
    environment = services.environment("tracedapp:app", VARIABLES, APPS)
    return {**environment, "RECORD": str(record), "SITE": web.url}


@pytest.fixture
def environment(untraced: dict[str, str], traces: Backend) -> dict[str, str]:
    return {**untraced, "CELERY_FLEET_TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url}


@pytest.fixture
def console(tmp_path: Path, services: Services) -> Iterator[Callable[[dict[str, str]], ConsoleProcess]]:
    """console(environment) is one that answers."""
    made = []

    def start(environment: dict[str, str]) -> ConsoleProcess:
        own = {name: value for name, value in environment.items() if name != "CELERY_FLEET_POOL"}
        process = ConsoleProcess(tmp_path / "console", own, settings={"OTEL_SERVICE_NAME": "celery-console"})
        made.append(process)
        process.start()
        return process

    yield start
    for process in made:
        process.stop()


@pytest.fixture
def pool(services: Services) -> Callable[..., Service]:
    """pool(environment, *options, pool="prefork") is a worker that is ready, whose tasks are known."""

    def start(environment: dict[str, str], *options: str, **more: Any) -> Service:
        service = services.worker(environment, *options, **more).wait_ready()
        with services.server.client(2) as state:
            eventually(lambda: state.exists("fleet:catalogue"), what="the catalogue")
        return service

    return start
