"""Real Redis servers and real workers for tests.

`redis_server` is a server of this run with an ACL user and password, empty for each test. `worker` starts
`celery -A celery_fleet.app worker` as systemd would, and stops it at the end; when the test fails, its log
is shown.
"""

import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from kombu import pools

from celery_fleet.install import install
from integration.support import PASSWORD, Installed, RedisServer, Service, Services, free_port


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test alone, not yet started, to be started and stopped at will."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory, free_port())
    server.password_file.write_text(f"{PASSWORD}\n")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _redis_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        pytest.fail("redis-server is not installed: run `make setup`")
    server = RedisServer(tmp_path_factory.mktemp("redis"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_of_session: RedisServer) -> RedisServer:
    with _redis_of_session.client() as client:
        client.flushall()
    return _redis_of_session


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_failed] = True
    return report


_failed = pytest.StashKey[bool]()


@pytest.fixture
def services(redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Services]:
    """Services on the server of the run; `services.server` may be exchanged before the first is started."""
    made = Services(redis_server, tmp_path)
    yield made
    made.close()
    if request.node.stash.get(_failed, False):
        for service in made.running:
            print(f"--- {' '.join(map(str, service.process.args))}")  # type: ignore[arg-type]
            print(service.output)
            print("--- notifications:", *service.notifications.lines[-20:], sep="\n")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The file that tasks write to."""
    path = tmp_path / "record"
    path.touch()
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """installed(module, directory, environment) -> the module, imported anew, with its `app` under the fleet."""
    apps = []
    shared = set(_state._on_app_finalizers)

    def load(name: str, directory: Path, environment: Mapping[str, str]) -> Any:
        for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            monkeypatch.setenv(variable, environment[variable])
        monkeypatch.syspath_prepend(str(directory))
        sys.modules.pop(name, None)
        module = importlib.import_module(name)
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


WorkerFactory = Callable[..., Service]


@pytest.fixture
def worker(services: Services) -> WorkerFactory:
    """worker(app, variables, pythonpath=..., queues="celery", concurrency=1, ...) returns a ready Service."""

    def start(
        app: str,
        variables: Mapping[str, Any],
        *options: str,
        pythonpath: Path | str,
        queues: str = "celery",
        extra: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Service:
        environment = services.environment(app, variables, pythonpath, queues)
        return services.worker({**environment, **(extra or {})}, *options, **more).wait_ready()

    return start


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, each test goes where there is room, but those that share something costly go together.

    `--dist loadgroup` would do the same by marks; pytest 9.2 and xdist 3.8 ignore them (pytest-xdist issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            if not module.endswith(_TOGETHER):
                return nodeid
            parameter = re.search(r"\[(\w+)", nodeid)  # the first is that of the module's fixture
            return f"{module} {parameter[1] if parameter else ''}"

    return Scheduler(config, log)


_TOGETHER = ("/test_redis_acl.py", "/test_wheel.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """kombu leaves its sockets to the garbage collector, which finds them during whichever test comes later."""
    here = Path(__file__).parent
    for item in (item for item in items if here in item.path.parents):
        for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"), append=False)
