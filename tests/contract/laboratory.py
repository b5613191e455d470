"""Stock Celery workers on a Redis of their own, and what became of the tasks that they were given.

An experiment starts workers, gives them tasks, does something to them, and returns what it found. All
experiments that the selected tests want begin with the session and run side by side, because most of their
time is waiting; a test waits for its experiment, and says what must have been found.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0
_AT_ONCE = 5
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: nothing outlives the thread that started it, however the session ends."""

_PRIORITY_STEPS = ("", "\x06\x163", "\x06\x166", "\x06\x169")


class AbandonedError(Exception):
    """The session ends before the experiment."""


class RedisServer:
    """A Redis server of one experiment, with an append-only file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, again if need be, and returns when it answers."""
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_DIES_WITH_US,
                    *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""),
                    *("--dir", str(self.directory), "--appendonly", "yes"),
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "the start of Redis")

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0, protocol: int = 2, **options: Any) -> "redis.Redis":
        return redis.Redis(port=self.port, db=database, decode_responses=True, protocol=protocol, **options)

    def signal(self, number: int) -> None:
        if self.process:
            self.process.send_signal(number)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        if self.process and self.process.poll() is not None:
            raise RuntimeError((self.directory / "redis.log").read_text())
        with self.client(retry=None) as client, suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


_given_ports: set[int] = set()


def free_port() -> int:
    """A port that no other experiment of this session was given."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def eventually(
    found: Callable[[], Any],
    what: str,
    patience: float = PATIENCE,
    abandoned: threading.Event | None = None,
) -> Any:
    """The first true result of `found`; fails when there is none in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if result := found():
            return result
        if abandoned is not None and abandoned.is_set():
            raise AbandonedError
        time.sleep(0.03)
    raise AssertionError(f"{what} did not happen within {patience} s")


@dataclass
class Worker:
    """A worker in a process group of its own."""

    process: subprocess.Popen[bytes]
    output_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.output_file.read_text(errors="replace")

    def kill(self) -> None:
        """`kill -9` of the main process alone."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Laboratory:
    """What an experiment works with: a server, an app that publishes, workers, the record of their tasks."""

    directory: Path
    abandoned: threading.Event
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = RedisServer(self.directory / "redis")
        self.redis = self.server.client()
        self.app = Celery("contract", set_as_current=False)
        self.app.conf.update(broker_url=self.server.url(), result_backend=self.server.url(1))
        self.record = self.directory / "record"
        self.record.touch()

    def worker(
        self,
        *options: str,
        pool: str = "prefork",
        concurrency: int = 1,
        queues: str = "celery",
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Worker:
        """A worker of `contractapp` with late acknowledgement and these settings; ready unless told not to wait."""
        output = self.directory / f"worker-{len(self.workers)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [
                    *_DIES_WITH_US,
                    *(sys.executable, "-m", "celery", "-A", "contractapp", "worker", "-l", "info"),
                    *(
                        "-n",
                        f"w{len(self.workers)}@contract",
                        f"--pool={pool}",
                        f"--concurrency={concurrency}",
                    ),
                    *("-Q", queues, "--without-mingle", "--without-gossip", "--without-heartbeat", *options),
                ],
                cwd=self.directory,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(APPS),
                    "CELERY_BROKER_URL": self.server.url(),
                    "CELERY_RESULT_BACKEND": self.server.url(1),
                    "CONTRACT_DIRECTORY": str(self.directory),
                    "CONTRACT_SETTINGS": json.dumps(dict(settings or {})),
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, output)
        self.workers.append(worker)
        if wait:
            self.wait_ready(worker)
        return worker

    def wait_ready(self, worker: Worker) -> None:
        def ready() -> bool:
            assert worker.process.poll() is None, "the worker ended before it was ready"
            return " ready." in worker.output

        self.eventually(ready, "the worker's being ready")

    def wait_exit(self, worker: Worker, patience: float = PATIENCE) -> int:
        self.eventually(lambda: worker.process.poll() is not None, "the worker's end", patience)
        return worker.process.returncode

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Publishes `contractapp.<task>` and returns its id."""
        return str(self.app.send_task(f"contractapp.{task}", args, **options).id)

    def state(self, task_id: str) -> str:
        return str(self.app.AsyncResult(task_id).state)

    def wait_state(self, task_id: str, *states: str) -> str:
        wanted = states or ("SUCCESS", "FAILURE", "REVOKED")
        return str(
            self.eventually(
                lambda: self.state(task_id) in wanted and self.state(task_id),
                f"one of {wanted} for {task_id}",
            )
        )

    def result(self, task_id: str) -> Any:
        return self.app.AsyncResult(task_id).result

    def events(self, event: str = "", about: str = "") -> list[dict[str, Any]]:
        """What the workers and tasks recorded, in order. `about`: a task's id or its first argument."""
        found = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [
            each
            for each in found
            if event in ("", each["event"]) and (not about or about in (each["id"], each["label"]))
        ]

    def starts(self, about: str) -> int:
        return len(self.events("start", about))

    def ends(self, about: str) -> int:
        return len(self.events("end", about))

    def wait_start(self, about: str, times: int = 1) -> dict[str, Any]:
        """The record of the task's start, once it has started that often."""
        self.eventually(lambda: self.starts(about) >= times, f"start {times} of {about}")
        return self.events("start", about)[-1]

    def wait_end(self, about: str, times: int = 1) -> None:
        self.eventually(lambda: self.ends(about) >= times, f"end {times} of {about}")

    def release(self, label: str) -> None:
        """Lets the tasks `hold` with this label end."""
        (self.directory / f"gate-{label}").touch()

    def queued(self, queue: str = "celery") -> list[str]:
        """The ids of the messages in a queue, next first."""
        return [
            json.loads(message)["headers"]["id"]
            for step in _PRIORITY_STEPS
            for message in reversed(self.redis.lrange(queue + step, 0, -1))  # type: ignore[arg-type]
        ]

    def unacknowledged(self) -> list[str]:
        return [json.loads(entry)[0]["headers"]["id"] for entry in self.redis.hvals("unacked")]  # type: ignore[union-attr]

    def everything(self) -> str:
        """All that the broker's database holds, as text."""
        read: dict[str, Callable[[str], Any]] = {
            "list": lambda key: self.redis.lrange(key, 0, -1),
            "hash": self.redis.hgetall,
            "zset": lambda key: self.redis.zrange(key, 0, -1),
            "set": self.redis.smembers,
            "string": self.redis.get,
        }
        return repr({key: read[str(self.redis.type(key))](key) for key in self.redis.scan_iter()})

    def eventually(self, found: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        return eventually(found, what, patience, self.abandoned)

    def never(self, found: Callable[[], Any], seconds: float) -> bool:
        """Whether `found` stayed false for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found():
                return False
            if self.abandoned.is_set():
                raise AbandonedError
            time.sleep(0.05)
        return True

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.app.close()
        self.redis.close()
        self.server.stop()


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return re.sub(r".*\) ", "", stat)[0] not in "ZX"


Experiment = Callable[[Laboratory], Any]
_experiments: dict[str, Experiment] = {}


def experiment(function: Experiment) -> Any:
    """Makes the function a fixture: what it returns. It runs once, in a laboratory of its own."""
    _experiments[function.__name__] = function

    @pytest.fixture(scope="session", name=function.__name__)
    def found(experiments: "Experiments") -> Any:
        return experiments.result(function.__name__)

    return found


class Experiments:
    """Those that the selected tests want, running side by side."""

    def __init__(self, directory: Path, wanted: Iterator[str]) -> None:
        self._directory = directory
        self._abandoned = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._running: dict[str, Future[Any]] = {}
        for name in wanted:
            if name in _experiments and name not in self._running:
                self._running[name] = self._pool.submit(self._run, name)

    def result(self, name: str) -> Any:
        return self._running[name].result()

    def close(self) -> None:
        self._abandoned.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, name: str) -> Any:
        laboratory = Laboratory(self._directory / name, self._abandoned)
        try:
            return _experiments[name](laboratory)
        except Exception as error:
            error.add_note(laboratory.record.read_text())
            for worker in laboratory.workers:
                error.add_note(f"--- {worker.process.args}\n{worker.output}")
            raise
        finally:
            laboratory.close()
