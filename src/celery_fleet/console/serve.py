"""The console's service: the listening sockets, and the processes that serve them.

systemd holds the sockets, so that whoever connects during a restart waits for a moment and is not refused. This process
accepts nothing itself: it starts the others (`server.py`), replaces those that die or do not answer any more, and tells
systemd how they are. Signals: SIGTERM ends them in order, SIGHUP replaces them one by one, each when its successor serves.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from celery_fleet.service.notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval

log = logging.getLogger(__name__)

GRACE = 3
"""Seconds that running requests have to end."""

_FIRST_FD = 3
_STARTS_WITHIN = 60.0
_SILENT_FOR = 15.0
"""Seconds without a word after which a process is taken for hung."""
_ENDS_WITHIN = GRACE + 2.0
_PAUSE = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next start, by how many failed in a row."""
_TICK = 0.5


class CannotServe(Exception):  # noqa: N818 - it says what was found
    """Why the console cannot be served; one line."""


def listening_sockets(variables: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Those that systemd hands over, else those that CONSOLE_LISTEN names (`host:port`, separated by commas)."""
    if variables.get("LISTEN_PID") == str(pid):
        count = int(variables.get("LISTEN_FDS") or 0)
        return [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + count)]
    found = []
    for address in filter(None, (part.strip() for part in variables.get("CONSOLE_LISTEN", "").split(","))):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise CannotServe(f"CONSOLE_LISTEN: {address!r} is no address as 127.0.0.1:8000")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            found.append(socket.create_server((host.strip("[]"), int(port)), family=family, backlog=2048))
        except OSError as error:
            raise CannotServe(f"{address} cannot be listened on: {error.strerror or error}") from error
    if not found:
        raise CannotServe(
            "there is no socket: start celery-console.socket, or set CONSOLE_LISTEN=127.0.0.1:8000"
        )
    return found


def shown(sockets: list[socket.socket]) -> str:
    names = [each.getsockname() for each in sockets]
    return ", ".join(f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name) for name in names)


@dataclass(eq=False)
class Child:
    """A process that serves."""

    process: "subprocess.Popen[bytes]"
    beats: int
    """Its end of the pipe on which the process says, every second, that it answers."""
    generation: int
    seen: float
    """When it was last heard of; at first, when it was started."""
    ready: bool = False
    ending: float | None = None
    """When it was told to end."""
    figures: dict[str, int] = field(default_factory=dict)

    def late(self, now: float) -> bool:
        """Whether it has to be killed: it hangs, or takes too long to start or to end."""
        if self.ending is not None:
            return now - self.ending > _ENDS_WITHIN
        return now - self.seen > (_SILENT_FOR if self.ready else _STARTS_WITHIN)

    def hear(self) -> bool:
        """Takes in what it said. False: it said its last word."""
        try:
            said = os.read(self.beats, 65536)
        except BlockingIOError:
            return True
        if not said:
            return False
        self.seen, self.ready = time.monotonic(), True
        with contextlib.suppress(ValueError):
            self.figures = json.loads(said.splitlines()[-1])
        return True


class Supervisor:
    """Keeps `wanted` processes serving."""

    def __init__(
        self,
        sockets: list[socket.socket],
        wanted: int,
        variables: Mapping[str, str],
        module: str = f"{__package__}.server",
    ) -> None:
        self._sockets = sockets
        self._module = module
        self._wanted = wanted
        self._variables = {
            name: value
            for name, value in variables.items()
            if name not in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
            and not name.startswith("LISTEN_")
        }
        self._children: list[Child] = []
        self._generation = 0
        self._served = False  # all that are wanted did serve once
        self._reloading = False
        self._ending: float | None = None
        self._failed, self._not_before = 0, 0.0
        self._fed = 0.0
        self._interval = watchdog_interval(variables)
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Serves until a signal says to end. The exit status: 1 when no process could be started at all."""
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        self._selector.register(wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number, act in {
            signal.SIGTERM: self._end,
            signal.SIGINT: self._end,
            signal.SIGHUP: self._reload,
        }.items():
            signal.signal(number, lambda *_, act=act: act())
        try:
            while self._ending is None or self._children:
                if not self._tick(wake):
                    return 1
        finally:
            for child in self._children:
                child.process.kill()
        log.info("The console has ended")
        return 0

    def _tick(self, wake: socket.socket) -> bool:
        """One turn. False: the first processes do not start, so there is no use in going on."""
        for key, _ in self._selector.select(_TICK):
            if key.fileobj is wake:
                with contextlib.suppress(BlockingIOError):
                    wake.recv(4096)
            elif not key.data.hear():
                self._bury(key.data)
        now = time.monotonic()
        for child in [child for child in self._children if child.late(now)]:
            log.error("Process %s does not answer, and is killed", child.process.pid)
            child.process.kill()
            self._bury(child)
        if self._failed and not self._served:
            log.error("The console cannot be served: its processes do not start")
            self._end()
            return False
        if self._ending is None:
            self._fill(now)
            self._tell(now)
        return True

    def _fill(self, now: float) -> None:
        """Starts what is missing; with older processes still there, one at a time, each in the place of one of them."""
        current = [c for c in self._children if c.generation == self._generation and c.ending is None]
        older = [c for c in self._children if c.generation < self._generation and c.ending is None]
        ready = sum(child.ready for child in current)
        for child in older[: max(0, len(older) + ready - self._wanted)]:
            self._stop(child)
        missing = self._wanted - len(current)
        if missing > 0 and now >= self._not_before and (not older or ready == len(current)):
            for _ in range(1 if older else missing):
                self._start()
        if ready >= self._wanted and not older:
            self._failed = 0
            if not self._served or self._reloading:
                self._served, self._reloading = True, False
                log.info("%s processes serve %s", self._wanted, shown(self._sockets))
                notify(READY)

    def _start(self) -> None:
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        fds = [each.fileno() for each in self._sockets]
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", self._module],
            pass_fds=[*fds, theirs],
            env={
                **self._variables,
                "CONSOLE_SOCKETS": ",".join(map(str, fds)),
                "CONSOLE_BEATS": str(theirs),
            },
        )
        os.close(theirs)
        child = Child(process, ours, self._generation, time.monotonic())
        self._children.append(child)
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _stop(self, child: Child) -> None:
        if child.ending is None:
            child.ending = time.monotonic()
            child.process.terminate()

    def _bury(self, child: Child) -> None:
        """It has ended, or its pipe is closed, which it does in the end only."""
        self._selector.unregister(child.beats)
        os.close(child.beats)
        try:
            code = child.process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            child.process.kill()
            code = child.process.wait()
        self._children.remove(child)
        if child.ending is not None:
            return
        self._failed += 1
        self._not_before = time.monotonic() + _PAUSE[min(self._failed, len(_PAUSE)) - 1]
        log.error("Process %s has ended (%s); another one takes its place", child.process.pid, code)
        if self._reloading and not child.ready and child.generation == self._generation:
            log.error("The new processes do not start: the older ones stay")
            for other in self._children:
                other.generation = self._generation
            self._reloading = False
            notify(READY)

    def _reload(self) -> None:
        if self._ending is None:
            log.info("Replacing the processes one by one")
            self._generation += 1
            self._reloading = True
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def _end(self) -> None:
        if self._ending is None:
            self._ending = time.monotonic()
            notify(STOPPING, status("Ending the open streams and the running requests"))
            for child in self._children:
                self._stop(child)

    def _tell(self, now: float) -> None:
        """systemd hears of it while at least one process answers; without that, it starts the whole service again."""
        if now - self._fed < min(2.0, (self._interval or 10.0) / 3):
            return
        answering = [c for c in self._children if c.ready and now - c.seen < _SILENT_FOR / 3]
        if not answering:
            return
        self._fed = now
        figures = {
            name: sum(child.figures.get(name, 0) for child in answering) for name in ("requests", "open")
        }
        text = f"{len(answering)} of {self._wanted} processes serve {shown(self._sockets)}"
        notify(
            WATCHDOG, status(f"{text}: {figures['requests']} requests, {figures['open']} connections open")
        )


def main(variables: Mapping[str, str] = os.environ) -> int:
    """Serves the console until a signal says to end."""
    # Few lines, and small: the journal adds the rest. The processes have the log of all services.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        wanted = max(1, int(variables.get("CONSOLE_WORKERS") or 1))
        sockets = listening_sockets(variables, os.getpid())
    except (CannotServe, ValueError, OSError) as error:
        log.error("The console cannot be served: %s", error)
        return 1
    return Supervisor(sockets, wanted, variables).run()
