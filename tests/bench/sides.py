"""The two sides of `make bench-tasks`: stock Celery and the fleet, each with its worker and its client on one Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import BenchError

from celery_fleet.topology.document import topology_document
from deployed import pool_environments, worker_command
from integration.support import PASSWORD, USER, Notifications, RedisServer

SRC = Path(__file__).resolve().parents[2] / "src"
APPS = Path(__file__).resolve().parent / "apps"
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0
WATCHDOG = "30000000"
POOL = "bench"


def until(found: Callable[[], Any], what: str, pause: float = 0.005, patience: float = PATIENCE) -> Any:
    """The first true result. Raises BenchError when there is none in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(pause)
    raise BenchError(f"{what} did not happen within {patience:g} s")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [int(child) for child in text.split()]


def cpu_seconds(pid: int, alone: bool = False) -> float:
    """Seconds of CPU of a process and its children, those that have ended included; or of it alone."""
    total = 0.0
    for each in (pid,) if alone else (pid, *children(pid)):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15] if each == pid and not alone else fields[11:13]))
    return total / TICK


def pss_mebibytes(pid: int) -> float:
    """Proportional set size of a process and its children: shared pages are counted once."""
    total = 0
    for each in (pid, *children(pid)):
        lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@dataclass
class Worker:
    """A running worker. seconds: from its start until it is ready to work."""

    process: subprocess.Popen[bytes]
    seconds: float
    notifications: Notifications | None
    log: threading.Thread

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, sig: int) -> None:
        for pid in (self.process.pid, *children(self.process.pid)):
            os.kill(pid, sig)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.join()
        if self.process.stdout:
            self.process.stdout.close()
        if self.notifications:
            self.notifications.close()


class Client:
    """A process that publishes when it is told."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(APPS / "producer.py")],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the client has ended; its messages are above")
        return dict(json.loads(line))

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait(30)


class Side:
    """Stock Celery or the fleet. databases: of the broker and of the results."""

    def __init__(
        self, name: str, server: RedisServer, directory: Path, kind: str, databases: tuple[int, int]
    ) -> None:
        self.name = name
        self.kind = kind
        self.server = server
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.results = server.client(databases[1], decode_responses=False)
        self._databases = databases
        self._started = 0

    def environment(self) -> dict[str, str]:
        """Of its processes."""
        broker, results = (
            f"redis://{USER}:{_QUOTED}@{self.server.host}/{number}" for number in self._databases
        )
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(SRC), str(APPS))),
            "PYTHONWARNINGS": "ignore",
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": results,
        }

    def arguments(self, concurrency: int) -> list[str]:  # what follows `python`
        pool = (f"--pool={self.kind}", f"--concurrency={concurrency}")
        return ["-m", "celery", "-A", "benchapp", "worker", "-n", f"{POOL}@%h", *pool]

    def client(self) -> Client:
        return Client(self.environment())

    def worker(self, concurrency: int, profile: Path | None = None) -> Worker:
        """A worker that is ready. profile: where its main process leaves what cProfile saw."""
        self._started += 1
        ready = self.directory / f"ready-{self._started}"
        before = time.monotonic()
        python = self.arguments(concurrency)
        process = subprocess.Popen(
            [
                sys.executable,
                *(_profiled(profile) if profile else python[:2]),
                *python[2:],
            ],
            cwd=self.directory,
            env={**self.environment(), "BENCH_READY": str(ready), **self.notified()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        log = threading.Thread(target=self._drain, args=(process,), daemon=True)
        log.start()
        worker = Worker(process, 0.0, self.listener(), log)

        def is_ready() -> float:
            if process.poll() is not None:
                raise BenchError(f"the worker of {self.name} has ended; see {self.directory / 'worker.log'}")
            return self.ready_at(ready, worker)

        try:
            worker.seconds = until(is_ready, f"the start of the worker of {self.name}") - before
        except BenchError:
            worker.stop()
            raise
        return worker

    def notified(self) -> dict[str, str]:  # how systemd would be told
        return {}

    def listener(self) -> Notifications | None:
        return None

    def ready_at(self, ready: Path, worker: Worker) -> float:  # noqa: ARG002
        """The moment when the worker was ready; 0 while it is not."""
        text = ready.read_text() if ready.exists() else ""
        return float(text) if text else 0.0

    def done(self) -> int:
        """How many results there are."""
        return int(self.results.dbsize())

    def forget(self) -> None:
        """Results go, so that the next ones can be counted."""
        self.results.flushdb()

    def close(self) -> None:
        self.results.close()

    def _drain(self, process: subprocess.Popen[bytes]) -> None:  # as journald reads the pipe of a service
        assert process.stdout
        with (self.directory / "worker.log").open("ab") as file:
            for line in process.stdout:
                file.write(line)


class InfoStock(Side):
    """Stock Celery that logs as much as the fleet does."""

    def arguments(self, concurrency: int) -> list[str]:
        return [*super().arguments(concurrency), "--loglevel=info"]


class Fleet(Side):
    """The fleet with everything that a deployed pool has: unit, topology, recorder, lease, watchdog, log."""

    def __init__(
        self,
        name: str,
        server: RedisServer,
        directory: Path,
        kind: str,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, server, directory, kind, (0, 1))
        self._variables = dict(variables or {})
        self._socket: Path | None = None

    def environment(self) -> dict[str, str]:
        topology = self.directory / "topology.json"
        topology.write_text(json.dumps(topology_document({"celery_app": "benchapp:app", **self._variables})))
        return {
            **super().environment(),
            "CELERY_BROKER_URL": self.server.url(0),
            "CELERY_RESULT_BACKEND": self.server.url(1),
            "CELERY_FLEET_REDIS_PASSWORD_FILE": str(self.server.password_file),
            "CELERY_FLEET_APP": "benchapp:app",
            "CELERY_FLEET_TOPOLOGY": str(topology),
            "CELERY_FLEET_RELEASE": "r1",
        }

    def arguments(self, concurrency: int) -> list[str]:
        return worker_command(f"{POOL}@%h", self._pool(concurrency)["CELERY_WORKER_OPTIONS"])

    def notified(self) -> dict[str, str]:
        self._socket = self.directory / f"notify-{self._started}"
        pool = self._pool(1)
        del pool["CELERY_WORKER_OPTIONS"]
        return {
            **pool,
            "NOTIFY_SOCKET": str(self._socket),
            "WATCHDOG_USEC": WATCHDOG,
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def listener(self) -> Notifications | None:
        assert self._socket
        return Notifications(self._socket)

    def ready_at(self, ready: Path, worker: Worker) -> float:  # noqa: ARG002
        told = worker.notifications is not None and "READY=1" in worker.notifications.lines
        return time.monotonic() if told else 0.0

    def _pool(self, concurrency: int) -> dict[str, str]:
        pool = {"queues": ["celery"], "kind": self.kind, "concurrency": concurrency}
        variables = {"celery_app": "benchapp:app", **self._variables, "celery_worker_pools": {POOL: pool}}
        return pool_environments(variables)[POOL]


def _profiled(path: Path) -> tuple[str, str]:
    return "-c", _PROFILED.format(path=str(path))


_PROFILED = """
import cProfile, sys
from celery.__main__ import main
from celery.signals import worker_process_init, worker_process_shutdown

profile, child = cProfile.Profile(), cProfile.Profile()

@worker_process_init.connect
def begin(**_):
    profile.disable()
    child.enable()

@worker_process_shutdown.connect
def end(**_):
    child.disable()
    child.dump_stats({path!r} + "-child")

sys.argv[0] = "celery"
profile.enable()
try:
    sys.exit(main())
finally:
    profile.disable()
    profile.dump_stats({path!r})
"""

_QUOTED = PASSWORD.replace("/", "%2F").replace(":", "%3A").replace("@", "%40")
