"""The console's service: processes that serve sockets which are not theirs, kept alive and replaced without a refusal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.support import SRC, free_port

PATIENCE = 20

SERVICE = """
import logging, os, sys
from celery_fleet.console import serve
logging.basicConfig(level=logging.INFO)
serve._SILENT_FOR = 2.0
serve._ENDS_WITHIN = 1.0
sockets = serve.listening_sockets(os.environ, os.getpid())
sys.exit(serve.Supervisor(sockets, 2, os.environ, module="child").run())
"""

CHILD = """
import os, signal, socket, sys, threading, time
if os.path.exists("broken"):
    sys.exit(3)
sockets = [socket.socket(fileno=int(fd)) for fd in os.environ["CONSOLE_SOCKETS"].split(",")]
assert "NOTIFY_SOCKET" not in os.environ
ending = threading.Event()
if os.path.exists("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
def beat():
    while not os.path.exists(f"silent-{os.getpid()}"):
        os.write(int(os.environ["CONSOLE_BEATS"]), b'{"requests": 7, "open": 1}\\n')
        time.sleep(0.2)
threading.Thread(target=beat, daemon=True).start()
sockets[0].settimeout(0.1)
while not ending.is_set():
    try:
        connection, _ = sockets[0].accept()
    except TimeoutError:
        continue
    connection.settimeout(5)
    connection.recv(4096)
    body = str(os.getpid()).encode()
    connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    connection.close()
"""


class Service:
    """The parent process, as systemd would run it, with a child that only says who it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "service.py").write_text(SERVICE)
        (directory / "child.py").write_text(CHILD)
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(directory / "notify"))
        self._told.settimeout(0.1)
        self.said: list[str] = []
        self._log = (directory / "log").open("w")
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "service.py"],
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": f"{SRC}:{directory}",
                "CONSOLE_LISTEN": f"127.0.0.1:{self.port}",
                "NOTIFY_SOCKET": str(directory / "notify"),
                "WATCHDOG_USEC": "1500000",
            },
            stderr=self._log,
        )

    def listen(self) -> list[str]:
        """Everything that systemd was told until now."""
        try:
            while True:
                self.said += self._told.recv(4096).decode().splitlines()
        except TimeoutError:
            return self.said

    def get(self) -> int:
        """The process that answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return int(answer.read())

    def children(self) -> set[int]:
        listed = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return {int(pid) for pid in listed.stdout.split()}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self._told.close()
        self._log.close()


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.end()


@pytest.fixture
def ready(service: Service) -> Service:
    eventually(lambda: "READY=1" in service.listen())
    return service


def test_tells_systemd_how_it_is(ready: Service) -> None:
    eventually(lambda: "WATCHDOG=1" in ready.listen())
    status = f"STATUS=2 of 2 processes serve 127.0.0.1:{ready.port}: 14 requests, 2 connections open"
    eventually(lambda: status in ready.listen())
    assert ready.get() in ready.children()
    ready.end()
    assert ready.process.returncode == 0


def test_replaces_a_process_that_dies(ready: Service) -> None:
    before = ready.children()
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: len(ready.children()) == 2 and ready.children() != before)
    assert max(before) in ready.children()
    assert ready.said.count("READY=1") == 1


def test_kills_a_process_that_does_not_answer(ready: Service) -> None:
    hung, healthy = sorted(ready.children())
    (ready.directory / f"silent-{hung}").touch()
    eventually(lambda: hung not in ready.children() and len(ready.children()) == 2)
    assert healthy in ready.children()


def test_is_silent_when_no_process_answers(ready: Service) -> None:
    """So that systemd starts all of it anew."""
    for pid in ready.children():
        os.kill(pid, signal.SIGSTOP)
        (ready.directory / f"silent-{pid}").touch()
    (ready.directory / "broken").touch()
    eventually(lambda: "has ended" in (ready.directory / "log").read_text())
    ready.listen()
    fed = ready.said.count("WATCHDOG=1")
    time.sleep(1)
    assert ready.listen().count("WATCHDOG=1") == fed


def test_a_reload_refuses_nobody(ready: Service) -> None:
    before, over = ready.children(), threading.Event()

    def asked() -> list[int]:
        answered = [ready.get()]
        while not over.is_set():
            answered.append(ready.get())
        return [*answered, ready.get()]

    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(asked)
        eventually(answers.running)
        ready.process.send_signal(signal.SIGHUP)
        eventually(lambda: ready.listen().count("READY=1") == 2)
        over.set()
        answered = set(answers.result(PATIENCE))
    assert not before & ready.children()
    assert len(ready.children()) == 2
    assert any(line.startswith("MONOTONIC_USEC=") for line in ready.said)
    assert answered & before
    assert answered & ready.children()


def test_a_reload_that_cannot_start_keeps_what_runs(ready: Service) -> None:
    before = ready.children()
    (ready.directory / "broken").touch()
    ready.process.send_signal(signal.SIGHUP)
    eventually(lambda: ready.listen().count("READY=1") == 2)
    assert before <= ready.children()
    assert ready.get() in before
    assert "the older ones stay" in (ready.directory / "log").read_text()
    (ready.directory / "broken").unlink()
    time.sleep(1.5)
    assert ready.children() == before, "and it is not tried again"


def test_gives_up_when_nothing_starts_at_all(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    service = Service(tmp_path)
    assert service.process.wait(PATIENCE) == 1
    assert "READY=1" not in service.listen()
    service.end()


def test_ends_also_processes_that_do_not_want_to(tmp_path: Path) -> None:
    (tmp_path / "deaf").touch()
    service = Service(tmp_path)
    eventually(lambda: "READY=1" in service.listen())
    started, children = time.monotonic(), service.children()
    service.end()
    assert time.monotonic() - started < 5
    assert service.process.returncode == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
