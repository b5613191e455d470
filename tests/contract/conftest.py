"""Facts about Celery and Redis that the fleet relies on. Experiments with workers: see `laboratory`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import pools

from contract.laboratory import Experiments, RedisServer


@pytest.fixture(scope="session", autouse=True)
def experiments(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Experiments]:
    if not shutil.which("redis-server"):
        pytest.fail("redis-server is not installed: run `make setup`")
    wanted = (name for item in request.session.items for name in wanted_by(item))
    running = Experiments(tmp_path_factory.mktemp("experiments"), wanted)
    yield running
    running.close()
    pools.reset()


def wanted_by(item: pytest.Item) -> list[str]:
    """The fixtures of a test, and those that its parameter `found` names."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return [*getattr(item, "fixturenames", ()), str(parameters.get("found"))]


@pytest.fixture
def found(request: pytest.FixtureRequest, experiments: Experiments) -> Any:
    """What the experiment found that the parameter names."""
    return experiments.result(request.param)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("server") / "redis")
    yield server
    server.stop()


@pytest.fixture
def server(_server: RedisServer) -> RedisServer:
    """A server that is empty for each test, and shared by the tests without workers."""
    with _server.client() as client:
        client.flushall()
    return _server


@pytest.fixture
def client(server: RedisServer) -> Iterator["redis.Redis"]:
    with server.client() as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may stop."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """kombu leaves its sockets to the garbage collector, which finds them during whichever test comes later."""
    here = Path(__file__).parent
    for item in (item for item in items if here in item.path.parents):
        for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"), append=False)
