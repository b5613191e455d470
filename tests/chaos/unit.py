"""A service of one pool on a host, run as systemd runs celery-worker@.service.

Type=notify, WatchdogSec=, KillMode=mixed, Restart=always after a second, OOMPolicy=continue, both stop policies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stage import Cgroup, Host, children, kill

from deployed import worker_command

PAUSE = 0.05
RESTART = 1.0
START_TIMEOUT = 90.0
ABORT_TIMEOUT = 10.0


@dataclass(frozen=True)
class Event:
    """What happened to a service: start, ready, exit, oom, watchdog, stopping, overdue."""

    at: float
    name: str


@dataclass
class Pool:
    """How the pool of a host is to be run. memory: bytes of the whole service; stop_timeout: TimeoutStopSec."""

    name: str
    kind: str
    environment: Mapping[str, str]
    memory: int
    stop_policy: str
    stop_timeout: float


class Unit:
    """One service, supervised by a thread of this process until `remove`."""

    def __init__(
        self, host: Host, pool: Pool, directory: Path, watchdog: float, environment: Mapping[str, str]
    ) -> None:
        self.host = host
        self.pool = pool
        self.node = f"{pool.name}@{host.name}"
        self.events: list[Event] = []
        self.main = 0
        self.ready = False
        self._watchdog = watchdog
        self._directory = directory
        self._cgroup = Cgroup(self.node, pool.memory)
        self._socket = self._listen(directory / f"{self.node}.notify")
        self._environment = {
            **environment,
            **pool.environment,
            "NOTIFY_SOCKET": str(directory / f"{self.node}.notify"),
            "WATCHDOG_USEC": str(int(watchdog * 1e6)),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._options = self._environment.pop("CELERY_WORKER_OPTIONS")
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = True
        self._removed = False
        self._pinged = 0.0
        self._ooms = 0
        self._thread = threading.Thread(target=self._supervise, name=self.node, daemon=True)
        self._thread.start()

    # What faults do to it.

    def children(self) -> list[int]:
        return children(self.main) if self.main else []

    def kill_main(self) -> None:
        if self.main:
            kill([self.main], signal.SIGKILL)

    def kill_child(self, choose: Callable[[list[int]], int]) -> int | None:
        """The process that was killed, as its host counts them."""
        pids = self.children()
        if not pids:
            return None
        pid = choose(pids)
        inside = number_inside(pid)
        kill([pid], signal.SIGKILL)
        return inside

    def kill_all(self) -> None:
        kill(self._cgroup.pids(), signal.SIGKILL)

    def freeze(self) -> None:
        if self.main:
            kill([self.main], signal.SIGSTOP)

    def stop(self) -> None:
        """`systemctl stop`, without waiting for it."""
        self._wanted = False

    def start(self) -> None:
        """`systemctl start`, without waiting for it."""
        self._wanted = True

    def remove(self) -> None:
        """Ends what still runs, at once."""
        self._removed = True
        self._thread.join()
        self._cgroup.remove()
        self._socket.close()

    @property
    def running(self) -> bool:
        return self._process is not None

    def first(self, name: str, since: float) -> float | None:
        """When it first happened since then."""
        return next((event.at for event in self.events if event.name == name and event.at >= since), None)

    # What systemd does.

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        found.bind(str(path))
        found.settimeout(PAUSE)
        return found

    def _tell(self, name: str) -> None:
        self.events.append(Event(time.monotonic(), name))

    def _supervise(self) -> None:
        while not self._removed:
            if self._wanted:
                self._launch()
                ending = self._attend()
                self._bury(ending)
                self._rest(RESTART)
            else:
                self._rest(PAUSE)
        self._bury("")

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._removed:
            self._hear()

    def _launch(self) -> None:
        command = [sys.executable, *worker_command(self.node, self._options)]
        join = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._cgroup.procs)]
        with (self._directory / f"{self.node}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*join, *self.host.command(*command)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pinged = 0.0
        self._tell("start")

    def _attend(self) -> str:
        """Until its main process has ended, or has to; how it is then made to."""
        assert self._process
        began = time.monotonic()
        while self._process.poll() is None and not self._removed:
            self._hear()
            if not self.main:
                self.main = next(iter(children(self._process.pid)), 0)
            if not self._wanted:
                return "stop"
            if self.ready and time.monotonic() - self._pinged > self._watchdog:
                self._tell("watchdog")
                return "abort"
            if not self.ready and time.monotonic() - began > START_TIMEOUT:
                self._tell("overdue")
                return "abort"
        return ""

    def _bury(self, ending: str) -> None:
        """Ends the main process in this way, then all others: KillMode=mixed."""
        if self._process is None:
            return
        if ending == "abort":
            self._signal_main(signal.SIGABRT)
            self._wait(ABORT_TIMEOUT)
        elif ending == "stop":
            self._signal_main(signal.SIGTERM)
            self._wait(self.pool.stop_timeout)
        if self._process.poll() is None:
            if ending:
                self._tell("overdue")
        elif ending == "stop":
            self._tell("stopped")
        self._cgroup.kill()
        self._process.wait()
        self._process, self.main, self.ready = None, 0, False
        self._tell("exit")

    def _signal_main(self, sig: int) -> None:
        assert self._process
        if self.main:
            kill([self.main], sig)
        # Who is stopped must go on to feel it; nsenter stops when its child does.
        kill([self._process.pid, *([self.main] if self.main else [])], signal.SIGCONT)

    def _wait(self, seconds: float) -> bool:
        assert self._process
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end and not self._removed:
            self._hear()
        return self._process.poll() is not None

    def _hear(self) -> None:
        with contextlib.suppress(TimeoutError):
            lines = self._socket.recv(65536).decode().split("\n")
            if "WATCHDOG=1" in lines:
                self._pinged = time.monotonic()
            if "READY=1" in lines and self._process:
                self._pinged, self.ready = time.monotonic(), True
                self._tell("ready")
        # Also of one that is about to stop
        if (ooms := self._cgroup.oom_kills()) > self._ooms:
            self._ooms = ooms
            self._tell("oom")


def number_inside(pid: int) -> int | None:
    """What a process is called by those that share its host."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))


def cleared_environment() -> dict[str, str]:
    """What a service has of this process's environment."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONWARNINGS": "ignore"}
