"""Runs on a host in the place of a service: tries what a service has no need to do, and tells what came of it.

Reads a JSON list of [what, target], and prints a JSON list of [allowed, answer]. Needs Python alone.
"""

import ctypes
import http.client
import json
import mmap
import os
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NEW_USER_NAMESPACE = 0x10000000
_MOUNT_BIND = 4096
# Who tries does not mind whom it talks to.
_ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANYBODY.check_hostname = False
_ANYBODY.verify_mode = ssl.CERT_NONE
_DELETE_MODULE = {"x86_64": 176, "aarch64": 106}


def _read(path: str) -> str:
    place = Path(path)
    if place.is_dir():
        return f"{len(list(place.iterdir()))} entries"
    return f"{len(place.read_bytes())} bytes"


def _write(directory: str) -> str:
    with tempfile.NamedTemporaryFile(dir=directory, prefix="attempt-") as file:
        file.write(b"written")
    return "a file"


def _socket(family: str) -> str:
    kind = socket.SOCK_RAW if family in ("AF_NETLINK", "AF_PACKET") else socket.SOCK_STREAM
    with socket.socket(getattr(socket, family), kind) as opened:
        return str(opened.family)


def _ping(_target: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "a raw socket"


def _processes(_target: str) -> str:
    """Those of others: of other users, that is."""
    seen = [
        entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _owner(entry) != os.getuid()
    ]
    if not seen:
        raise PermissionError("none but its own user's")
    return f"{len(seen)} processes"


def _owner(entry: Path) -> int:
    try:
        return entry.stat().st_uid
    except FileNotFoundError:  # it has ended
        return os.getuid()


def _root(_target: str) -> str:
    os.setuid(0)
    return "root"


def _setuid_file(_target: str) -> str:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(stat.S_ISUID | stat.S_IRWXU)
        return "a setuid file"


def _program(path: str) -> str:
    """Run a program; one that is setuid asks for root."""
    done = subprocess.run(path.split(), capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise PermissionError((done.stderr or done.stdout or f"exit {done.returncode}").strip()[-200:])
    return done.stdout.strip()[:200]


def _namespace(_target: str) -> str:
    """In a child, which ends with it."""
    return _program("unshare --user true") or "a user namespace"


def _mount(directory: str) -> str:
    _call("mount", b"/tmp", directory.encode(), None, _MOUNT_BIND, None)
    return "mounted"


def _module(_target: str) -> str:
    """Remove one that is not there: who may, is told that it is not."""
    number = _DELETE_MODULE[os.uname().machine]
    try:
        _call("syscall", number, b"celery_fleet_none", os.O_NONBLOCK)
    except FileNotFoundError:
        return "it may remove modules"
    return "removed"


def _clock(_target: str) -> str:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


def _hostname(_target: str) -> str:
    socket.sethostname(socket.gethostname())
    return "set"


def _code(_target: str) -> str:
    """Memory that is written and run."""
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
        return "writable code"


def _connect(place: str) -> str:
    """`address:port`; whoever answers nothing for a second does not let in."""
    address, _, port = place.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=1):
        return "connected"


def _redis(target: str) -> str:
    """A command, without a password: `address:port COMMAND ...`; by TLS when the port is 6380."""
    place, *words = target.split()
    address, _, port = place.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=1) as plain:
        connection = _ANYBODY.wrap_socket(plain) if port == "6380" else plain
        connection.sendall((" ".join(words) + "\r\n").encode())
        answer = connection.recv(200).decode(errors="replace").strip()
    if answer.startswith("-"):
        raise PermissionError(answer)
    return answer


def _http(target: str) -> str:
    """`METHOD URL`, without a key; to be led to the log-in page, or to the port that speaks TLS, is to be refused."""
    method, url = target.split()
    parts = urllib.parse.urlsplit(url)
    connection = (
        http.client.HTTPSConnection(parts.netloc, timeout=5, context=_ANYBODY)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.netloc, timeout=5)
    )
    connection.request(method, parts.path or "/", headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    elsewhere = answer.getheader("Location", "")
    if (
        answer.status in (401, 403)
        or "/login" in elsewhere
        or (parts.port == 80 and elsewhere.startswith("https:"))
    ):
        raise PermissionError(f"{answer.status}")
    return f"{answer.status}"


def _call(function: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


ATTEMPTS: Mapping[str, Callable[[str], str]] = {
    "read": _read,
    "write": _write,
    "socket": _socket,
    "ping": _ping,
    "processes": _processes,
    "root": _root,
    "setuid file": _setuid_file,
    "program": _program,
    "namespace": _namespace,
    "mount": _mount,
    "module": _module,
    "clock": _clock,
    "hostname": _hostname,
    "code": _code,
    "connect": _connect,
    "redis": _redis,
    "http": _http,
}


def attempt(what: str, target: str) -> tuple[bool, str]:
    """Whether it is allowed, and the answer of the system."""
    try:
        return True, ATTEMPTS[what](target)
    except OSError as error:
        return False, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    print(json.dumps([attempt(what, target) for what, target in json.load(sys.stdin)]))
