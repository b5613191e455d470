"""The console by TLS: beyond loopback alone, and with new certificates while requests go on."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from integration.console.conftest import OPERATOR
from integration.support import DIES_WITH_US, certify, eventually, free_port


@dataclass(frozen=True)
class Console:
    """As its service runs it, on loopback and on any address."""

    process: subprocess.Popen[bytes]
    certificate: Path
    clear: int
    secured: int

    def get(self, url: str, trusted: str | None = None) -> int:
        """The status of an answer to who trusts this certificate."""
        context = ssl.create_default_context(cadata=trusted or self.certificate.read_text())
        return httpx.get(url, verify=context, timeout=10).status_code

    @property
    def shown(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.secured), timeout=5)


def command_of(settings: dict[str, str], **more: str) -> subprocess.Popen[bytes]:
    command = [*DIES_WITH_US, sys.executable, "-m", "celery_fleet.console"]
    return subprocess.Popen(command, env={**settings, **more}, stderr=subprocess.PIPE)


@pytest.fixture
def console(settings: dict[str, str], tmp_path: Path) -> Iterator[Console]:
    certificate = tmp_path / "host.pem"
    certify(certificate)
    (tmp_path / "session.key").write_text("k" * 64)
    clear, secured = free_port(), free_port()
    process = command_of(
        settings,
        CONSOLE_LISTEN=f"127.0.0.1:{clear},0.0.0.0:{secured}",
        CONSOLE_WORKERS="2",
        CONSOLE_SESSION_KEY_FILE=str(tmp_path / "session.key"),
        CONSOLE_CERTIFICATE_FILE=str(certificate),
        CONSOLE_CERTIFICATE_KEY_FILE=str(certificate.with_suffix(".key")),
    )
    made = Console(process, certificate, clear, secured)

    def answers() -> bool:
        try:
            return made.get(f"https://127.0.0.1:{secured}/health") == 200
        except httpx.HTTPError:
            return False

    try:
        eventually(answers, what="the console")
        yield made
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_loopback_is_served_in_clear_and_others_by_tls(console: Console) -> None:
    assert console.get(f"http://127.0.0.1:{console.clear}/health") == 200
    with pytest.raises(httpx.HTTPError):
        console.get(f"http://127.0.0.1:{console.secured}/health")
    with pytest.raises(httpx.HTTPError):
        console.get(f"https://127.0.0.1:{console.clear}/health")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):  # it is to be so old
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", console.secured)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain)


def test_the_cookie_of_a_session_goes_by_tls_alone(console: Console) -> None:
    context = ssl.create_default_context(cadata=console.certificate.read_text())
    with httpx.Client(base_url=f"https://127.0.0.1:{console.secured}", verify=context) as client:
        assert client.post("/ui/login", data={"key": OPERATOR}).status_code == 303
        assert [(cookie.name, cookie.secure) for cookie in client.cookies.jar] == [("fleet_session", True)]


def test_who_says_nothing_stops_nobody(console: Console) -> None:
    silent = [socket.create_connection(("127.0.0.1", console.secured)) for _ in range(50)]
    try:
        assert console.get(f"https://127.0.0.1:{console.secured}/health") == 200
    finally:
        for each in silent:
            each.close()


def test_a_new_certificate_while_requests_go_on(console: Console) -> None:
    before = console.certificate.read_text()
    new = console.certificate.with_name("new.pem")
    certify(new)
    either = before + new.read_text()
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            statuses.append(console.get(f"https://127.0.0.1:{console.secured}/health", either))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert console.shown.strip() in before
        new.with_suffix(".key").replace(console.certificate.with_suffix(".key"))
        new.replace(console.certificate)
        console.process.send_signal(signal.SIGHUP)
        fresh = console.certificate.read_text()
        eventually(lambda: all(console.shown.strip() in fresh for _ in range(8)), what="the new certificate")
        time.sleep(1)
    finally:
        ended.set()
        asking.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CONSOLE_CERTIFICATE_FILE": "host.pem"}, "belong together"),
        (
            {"CONSOLE_CERTIFICATE_FILE": "host.pem", "CONSOLE_CERTIFICATE_KEY_FILE": "other.key"},
            "cannot be used",
        ),
        (
            {"CONSOLE_CERTIFICATE_FILE": "none.pem", "CONSOLE_CERTIFICATE_KEY_FILE": "host.key"},
            "No such file",
        ),
    ],
)
def test_files_that_do_not_fit_are_told(
    settings: dict[str, str], tmp_path: Path, given: dict[str, str], said: str
) -> None:
    for name in ("host.pem", "other.pem"):
        certify(tmp_path / name)
    files = {name: str(tmp_path / file) for name, file in given.items()}
    process = command_of(settings, CONSOLE_LISTEN=f"127.0.0.1:{free_port()}", **files)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in told.decode()
