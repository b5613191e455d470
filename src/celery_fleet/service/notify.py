"""The notification protocol of systemd: one datagram of NAME=value lines. See sd_notify(3)."""

import os
import socket
from collections.abc import Mapping

from .native import original

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def status(text: str) -> str:
    """The line that `systemctl status` shows."""
    return "STATUS=" + " ".join(text.split())


def notify(*lines: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell systemd. False, and nothing done, when it does not listen or cannot be told; never raises."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # a socket in the abstract namespace
        address = "\0" + address[1:]
    plain_socket = original("socket", "socket")  # gevent's belongs to its hub
    try:
        with plain_socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds within which systemd wants a WATCHDOG=1 of this process; None when it wants none."""
    if environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid() if pid is None else pid)):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None
