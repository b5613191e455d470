"""Hosts of a fleet on this machine: network, host and process namespaces of their own, and a Redis that they reach by a bridge.

A host has its own name, address, processes and network card; its end is the end of all of them at once, as when the power fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

BRIDGE = "fleetchaos0"
NETWORK = "10.214.8"
USER, PASSWORD = "worker", "s3cr/et:@pass"
CGROUPS = Path("/sys/fs/cgroup")
WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Starts what must not outlive this process, however it ends."""
_INIT = 'hostname "$1"; ip link set lo up; echo up; trap : CHLD; while :; do sleep 1000 & wait $!; done'


class ChaosError(Exception):
    """Why the run cannot go on; shown as it is."""


def run(*command: str) -> None:
    """Raises ChaosError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChaosError(f"{' '.join(command)}: {done.stderr.strip()}")


def until(found: Callable[[], Any], what: str, patience: float = 60.0, pause: float = 0.05) -> Any:
    """The first true result. Raises ChaosError when there is none in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(pause)
    raise ChaosError(f"{what} did not happen within {patience:g} s")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def kill(pids: Iterable[int], sig: int) -> None:
    """Sends a signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


class Network:
    """The bridge between the hosts. What an earlier run left is removed first."""

    address = f"{NETWORK}.1"

    def __init__(self) -> None:
        self.close()
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")

    def close(self) -> None:
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


class Host:
    """A host that runs nothing yet. number: the last part of its address."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self._card = f"fch-{name}"[:15]
        flags = ("--fork", "--pid", "--mount-proc", "--uts", "--net", "--kill-child")
        self._holder = subprocess.Popen(
            [*WITH_US, "unshare", *flags, "--", "bash", "-c", _INIT, "bash", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"up\n":
            raise ChaosError(f"the namespaces of host {name} cannot be made")
        self.init = until(lambda: children(self._holder.pid), f"the start of host {name}")[0]
        run("ip", "link", "add", self._card, "type", "veth", "peer", "name", "eth0", "netns", str(self.init))
        run("ip", "link", "set", self._card, "master", BRIDGE, "up")
        inside = ("nsenter", f"--target={self.init}", "--net", "ip")
        run(*inside, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")

    def command(self, *command: str) -> list[str]:
        """What runs a command on the host: a parent of the process itself, which passes its end on."""
        return ["nsenter", f"--target={self.init}", "--net", "--uts", "--pid", "--mount", *command]

    def cut(self) -> None:
        """The cable is pulled: nobody is told, packets vanish."""
        run("ip", "link", "set", self._card, "down")

    def heal(self) -> None:
        run("ip", "link", "set", self._card, "up")

    def vanish(self) -> None:
        """All processes end at once; the host does not come back."""
        kill([self.init], signal.SIGKILL)
        self._holder.wait(30)
        if self._holder.stdout:
            self._holder.stdout.close()
        subprocess.run(["ip", "link", "delete", self._card], capture_output=True, check=False)


class Cgroup:
    """The processes of one service, with a memory limit. Version 1 or 2 of cgroups, whichever the machine has."""

    _version_2 = (CGROUPS / "cgroup.controllers").exists()
    _root = CGROUPS / "fleet-chaos" if _version_2 else CGROUPS / "memory" / "fleet-chaos"

    def __init__(self, name: str, memory: int) -> None:
        if self._version_2:
            self._root.mkdir(exist_ok=True)
            for path in (CGROUPS, self._root):
                (path / "cgroup.subtree_control").write_text("+memory")
        self.path = self._root / name
        self.path.mkdir(parents=True, exist_ok=True)
        limit = "memory.max" if self._version_2 else "memory.limit_in_bytes"
        (self.path / limit).write_text(str(memory))

    @property
    def procs(self) -> Path:
        return self.path / "cgroup.procs"

    def pids(self) -> list[int]:
        try:
            return [int(pid) for pid in self.procs.read_text().split()]
        except OSError:
            return []

    def kill(self) -> None:
        """Nothing in it survives."""
        end = time.monotonic() + 30
        while (pids := self.pids()) and time.monotonic() < end:
            kill(pids, signal.SIGKILL)
            time.sleep(0.01)

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        name = "memory.events" if self._version_2 else "memory.oom_control"
        try:
            lines = (self.path / name).read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self) -> None:
        self.kill()
        for path in (self.path, self._root):
            with contextlib.suppress(OSError):  # others still use the root
                path.rmdir()


@dataclass
class RedisServer:
    """The fleet's Redis, append-only as the role redis sets it up."""

    directory: Path
    address: str
    port: int = 6379
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: int, password: bool = False) -> str:
        secret = ":s3cr%2Fet%3A%40pass" if password else ""
        return f"redis://{USER}{secret}@{self.address}:{self.port}/{database}"

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(
            host=self.address,
            port=self.port,
            db=database,
            username=USER,
            password=PASSWORD,
            protocol=2,
            socket_timeout=2,
        )

    def start(self, fsync: str = "everysec") -> None:
        """Returns when it answers, its data loaded."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.password_file.write_text(f"{PASSWORD}\n")
        users = self.directory / "users.acl"
        # As in the role: Redis loads its file as `default`, and skips the transactions that it has no right to.
        users.write_text(f"user default off resetpass ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n")
        options = {
            "bind": self.address,
            "port": str(self.port),
            "dir": str(self.directory),
            "aclfile": str(users),
            "save": "",
            "appendonly": "yes",
            "appendfsync": fsync,
            "maxmemory-policy": "noeviction",
            "logfile": str(self.directory / "redis.log"),
        }
        command = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([*WITH_US, "redis-server", *command])
        until(self.answers, "the start of Redis", pause=0.02)

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def signal(self, sig: int) -> None:
        assert self.process
        self.process.send_signal(sig)

    def end(self, sig: int) -> None:
        """Ends it, gracefully or not."""
        assert self.process
        self.process.send_signal(sig)
        self.process.wait(30)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def close_all(closings: Sequence[Callable[[], None]]) -> None:
    """Calls each, whatever the others do."""
    for closing in closings:
        try:
            closing()
        except Exception as error:
            print(f"while cleaning up: {type(error).__name__}: {error}")
