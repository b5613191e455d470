"""Who a process is, so that another can tell whether it still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """Names a process in time and space. Empty or 0: the system does not say."""

    host: str
    machine: str
    """The machine's id; containers may share it, or have none."""
    boot: str
    pidns: str
    """The pid namespace in which `pid` counts."""
    pid: int
    started: int
    """Clock ticks since boot."""


def this_process() -> Process:
    pid = os.getpid()
    return Process(
        host=socket.gethostname(),
        machine=_text("/etc/machine-id"),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        pidns=_namespace(),
        pid=pid,
        started=started(pid) or 0,
    )


def started(pid: int) -> int | None:
    """When a process of this pid namespace was started, in clock ticks since boot; None when it has ended."""
    stat = _text(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split()
    if not fields or fields[0] in ("Z", "X"):  # a zombie runs no more
        return None
    return int(fields[19])


def is_gone(other: Process, me: Process) -> bool:
    """Whether the other has certainly ended. False also means: cannot be told from here."""
    if not other.machine or other.machine != me.machine or not other.boot:
        return False
    if other.boot != me.boot:
        return True
    return bool(other.pidns) and other.pidns == me.pidns and started(other.pid) != other.started


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
