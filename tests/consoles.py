"""The console of a fleet as tests reach it: its address and keys, and a process of it on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from integration.support import DIES_WITH_US, SRC, free_port
from monitors import credentials, prometheus_of

if TYPE_CHECKING:
    from hosts import Fleet  # it imports Ansible, which takes seconds

ROOT = Path(__file__).resolve().parents[1]
START_TIME = 30.0
"""Seconds until a console that does not answer is given up: far more than it takes."""


@dataclass(frozen=True)
class Console:
    """Where a console is, and a key for each role.

    `prometheus`: the address of its Prometheus, where there is one, and `monitor`, `user:password` there. `trusted`: files of
    authorities, of which those that are there are trusted.
    """

    url: str
    operator: str
    viewer: str
    prometheus: str = ""
    monitor: str = ""
    trusted: Sequence[Path] = ()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer; as the operator, unless `key` says otherwise ('': nobody)."""
        sent = {"Accept": "application/json", **(headers or {})}
        if chosen := self.operator if key is None else key:
            sent["X-API-Key"] = chosen
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(f"{self.url}{path}", data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context()) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read())

    def _context(self) -> ssl.SSLContext | None:
        if not self.trusted:
            return None
        texts = [path.read_text() for path in self.trusted if path.exists()]
        return ssl.create_default_context(cadata="".join(texts))

    def get(self, path: str) -> Any:
        """The JSON of an answer that is 200."""
        status, body = self.request("GET", path)
        assert status == 200, (path, status, body)
        return body

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON of an answer that is 2xx."""
        status, answer = self.request("POST", path, body)
        assert status // 100 == 2, (path, status, answer)
        return answer

    def submit(self, task: str, /, queue: str | None = None, **kwargs: Any) -> str:
        """The id of a task that was accepted."""
        where = {"queue": queue} if queue else {}
        return str(self.post("/api/v1/tasks", {"type": task, "kwargs": kwargs, **where})["task_id"])

    def state(self, task_id: str) -> str:
        """What became of a task so far, as Celery says it; empty: the console does not know it."""
        status, body = self.request("GET", f"/api/v1/tasks/{task_id}")
        assert status in (200, 404), body
        return str(body["status"]) if status == 200 else ""


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def deployed(fleet: Fleet, edge: str = "") -> Console:
    """The console of an inventory, at the address at which people reach it: that of its first edge, or of this one."""
    host = edge or (fleet.groups.get("edge") or fleet.groups["console"])[0]
    secrets_dir = Path(fleet.variables(host)["fleet_secrets_dir"])
    address, tls = fleet.variables(host)["ansible_host"], fleet.variables(host).get("celery_tls")
    (monitor,) = fleet.groups["monitoring"]
    return Console(
        f"https://{address}" if tls else f"http://{address}:8000",
        (secrets_dir / "console-operator").read_text().strip(),
        (secrets_dir / "console-viewer").read_text().strip(),
        prometheus_of(fleet).url,
        credentials(fleet.variables(monitor)),
        [secrets_dir / "certificates" / f"authority{which}.pem" for which in ("", ".previous")]
        if tls
        else (),
    )


class ConsoleProcess:
    """The real console, started as its unit does, on a port of its own; the port and the keys outlive a restart.

    environment: of a service of the fleet. settings: more of CONSOLE_*.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        processes: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        keys = {role: secrets.token_urlsafe(24) for role in ("operator", "viewer")}
        known = {
            role: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role}
            for role, key in keys.items()
        }
        for name, text in {"keys.json": json.dumps(known), "session": secrets.token_urlsafe(48)}.items():
            (directory / name).write_text(text)
        address = f"127.0.0.1:{free_port()}"
        self.console = Console(f"http://{address}", keys["operator"], keys["viewer"])
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SRC),
            **environment,
            "CONSOLE_LISTEN": address,
            "CONSOLE_WORKERS": str(processes),
            "CONSOLE_KEYS_FILE": str(directory / "keys.json"),
            "CONSOLE_SESSION_KEY_FILE": str(directory / "session"),
            **(settings or {}),
        }

    def start(self) -> Console:
        """Starts it, and waits until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, sys.executable, "-m", "celery_fleet.console"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        end = time.monotonic() + START_TIME
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"the console does not start:\n{self.output()}")
            time.sleep(0.1)
        return self.console

    @property
    def log(self) -> Path:
        return self.directory / "console.log"

    def output(self, lines: int = 40) -> str:
        """The last that it said."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> int:
        """Ends it as systemd would; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return self.process.returncode

    def _answers(self) -> bool:
        try:
            return self.console.request("GET", "/health", key="")[0] < 500
        except OSError:
            return False


def reference_variables(**more: Any) -> dict[str, Any]:
    """The inventory variables of the reference fleet: its app, queues, routes, limits, schedule; `more` wins."""
    path = ROOT / "inventories" / "local" / "group_vars" / "all" / "celery.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    plain = {name: value for name, value in found.items() if "{{" not in str(value)}
    plain.pop("celery_environment", None)
    return {**plain, **more}
