"""Real Redis servers and real services, started as systemd would start them."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_fleet.topology.document import topology_document

SRC = Path(__file__).parents[2] / "src"
USER, PASSWORD = "worker", "s3cr/et:@pass"
PATIENCE = 60.0
"""Seconds until a test fails for what has not happened: far more than it takes, for machines are busy."""

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it does not outlive the process of the tests, however that ends."""

Installed = Callable[..., Any]
"""What the fixture `installed` gives."""


def eventually(found: Callable[[], Any], patience: float = PATIENCE, what: str = "it") -> Any:
    """The first true result of `found`, or a failure of the test."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.02)
    return pytest.fail(f"{what} did not happen within {patience} s")


def certify(path: Path, name: str = "IP:127.0.0.1") -> None:
    """Writes a certificate that trusts itself, and its key beside it."""
    key = path.with_suffix(".key")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    about = [
        "-subj",
        "/CN=redis",
        "-addext",
        f"subjectAltName={name}",
        "-keyout",
        str(key),
        "-out",
        str(path),
    ]
    subprocess.run(["openssl", "req", "-x509", *kind, *about], check=True, capture_output=True)


@dataclass
class RedisServer:
    """A Redis server that only USER with PASSWORD may use, from its own directory."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    tls: bool = False
    """With a certificate of its own for 127.0.0.1, and no port in clear."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: int = 0) -> str:
        """As services get it: with the user, without the password."""
        if self.tls:
            trust = f"?ssl_cert_reqs=required&ssl_ca_certs={self.certificate}"
            return f"rediss://{USER}@{self.host}/{database}{trust}"
        return f"redis://{USER}@{self.host}/{database}"

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    def client(self, database: int = 0, **options: Any) -> "redis.Redis":
        options = {"decode_responses": True, "protocol": 2, "username": USER, "password": PASSWORD, **options}
        if self.tls:
            trust = {"ssl_ca_certs": str(self.certificate), "ssl_check_hostname": False}
            options = {"ssl": True, **trust, **options}
        return redis.Redis(host="127.0.0.1", port=self.port, db=database, **options)

    def start(self) -> None:
        self.password_file.write_text(f"{PASSWORD}\n")
        (self.directory / "users.acl").write_text(
            f"user default off resetpass ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all\n"
        )
        if self.tls and not self.certificate.exists():
            certify(self.certificate)
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *DIES_WITH_US,
                    *("redis-server", "--bind", "127.0.0.1", *self._place()),
                    *("--dir", str(self.directory)),
                    *("--aclfile", str(self.directory / "users.acl"), "--save", "", "--appendonly", "yes"),
                ],
                stdout=log,
            )
        eventually(self._answers, what="the start of Redis")

    def _place(self) -> list[str]:
        if not self.tls:
            return ["--port", str(self.port)]
        files = {
            "cert": self.certificate,
            "key": self.certificate.with_suffix(".key"),
            "ca-cert": self.certificate,
        }
        named = [word for name, path in files.items() for word in (f"--tls-{name}-file", str(path))]
        return ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *named]

    def _answers(self) -> bool:
        with self.client(retry=None) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    """A port on which nothing listens.

    It is below those that the kernel gives to outgoing connections: it stays free until the test uses it, and while
    its server is away, though other tests run at the same time.
    """
    for port in random.SystemRandom().sample(range(15000, 32000), 1000):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class Notifications:
    """What a service tells systemd: a socket that listens in place of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            self.lines += data.decode().split("\n")

    def count(self, line: str) -> int:
        return self.lines.count(line)

    @property
    def status(self) -> str:
        return next((line[7:] for line in reversed(self.lines) if line.startswith("STATUS=")), "")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


@dataclass
class Service:
    """A running worker, or Beat: the leader of a process group, as it is the main process of a cgroup."""

    process: subprocess.Popen[bytes]
    directory: Path
    notifications: Notifications
    log_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log_file = self.directory / "service.log"

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text(errors="replace")

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_ready(self, patience: float = PATIENCE) -> "Service":
        def ready() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"the service ended with {self.process.returncode}:\n{self.output}")
            return "READY=1" in self.notifications.lines

        eventually(ready, patience, what="READY=1")
        return self

    def wait_log(self, text: str, times: int = 1, patience: float = PATIENCE) -> None:
        eventually(lambda: self.log.count(text) >= times, patience, what=f"{text!r} in the log")

    def stop(self, sig: int = signal.SIGTERM, patience: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def kill(self) -> None:
        """As the end of the cgroup, or of the machine: the process and its children have no last word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Services:
    """Starts services of one test."""

    server: RedisServer
    directory: Path
    running: list[Service] = field(default_factory=list)

    def environment(
        self, app: str, variables: Mapping[str, Any], pythonpath: Path | str, queues: str = "celery"
    ) -> dict[str, str]:
        """What the unit of a pool sets, with the topology of these inventory variables."""
        topology = self.directory / "topology.json"
        topology.write_text(json.dumps(topology_document({"celery_app": app, **variables})))
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join((str(SRC), str(pythonpath))),
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser",
            "CELERY_FLEET_APP": app,
            "CELERY_FLEET_TOPOLOGY": str(topology),
            "CELERY_FLEET_POOL": "default",
            "CELERY_FLEET_QUEUES": queues,
            "CELERY_FLEET_RELEASE": "r1",
            "CELERY_BROKER_URL": self.server.url(0),
            "CELERY_RESULT_BACKEND": self.server.url(1),
            "CELERY_FLEET_REDIS_PASSWORD_FILE": str(self.server.password_file),
        }

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        python: Sequence[str] = ("-m", "celery_fleet"),
    ) -> Service:
        """`celery-fleet -A celery_fleet.app <arguments>`, in a directory of its own."""
        directory = self.directory / f"service-{len(self.running)}"
        directory.mkdir()
        notifications = Notifications(directory / "notify")
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [*DIES_WITH_US, sys.executable, *python, "-A", "celery_fleet.app", *arguments],
                cwd=directory,
                env={
                    **environment,
                    "NOTIFY_SOCKET": str(notifications.path),
                    "WATCHDOG_USEC": "800000",
                    "CELERY_FLEET_LOG_FILE": str(directory / "service.log"),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        service = Service(process, directory, notifications)
        self.running.append(service)
        return service

    def worker(
        self,
        environment: Mapping[str, str],
        *options: str,
        concurrency: int = 1,
        pool: str = "prefork",
        **start: Any,
    ) -> Service:
        return self.start(
            [
                *("worker", "-n", "default@%h", "-Q", environment["CELERY_FLEET_QUEUES"], f"--pool={pool}"),
                *(
                    f"--concurrency={concurrency}",
                    "--without-mingle",
                    "--without-gossip",
                    "-l",
                    "info",
                    *options,
                ),
            ],
            environment,
            **start,
        )

    def close(self) -> None:
        """Ends all at once: what a clean stop does, tests of it say."""
        for service in self.running:
            service.kill()
            service.notifications.close()
