"""What systemd is told."""

import os
import socket

import pytest

from celery_fleet.service.notify import READY, notify, status, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path):
    name = str(tmp_path / "notify")
    address, variable = (name, name) if request.param == "path" else (f"\0{name}", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(2)
        yield sock, {"NOTIFY_SOCKET": variable}


def test_lines_are_one_datagram(listener):
    sock, environ = listener
    assert notify(READY, status("3/4 busy"), environ=environ)
    assert sock.recv(1000) == b"READY=1\nSTATUS=3/4 busy"


def test_a_status_stays_on_its_line():
    assert status("a\nREADY=1 b") == "STATUS=a READY=1 b"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/no"}]
)
def test_nobody_listens(environ):
    assert not notify(READY, environ=environ)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environ, seconds):
    assert watchdog_interval(environ) == seconds
