"""A Prometheus of a test: Debian's, on a free port, with a past that the test writes and exporters that it names."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.support import DIES_WITH_US, certify, free_port

USER, PASSWORD = "console", "let-me-look"
_HASH = "$2b$04$.2wPEHLkrZsXphnNEdpKMetLspf7SvQfhV/gZEExTchR7NmzMOXWa"
"""Of the password, by bcrypt."""

START_TIME = 30.0
"""Seconds until one that does not answer is given up: far more than it takes."""


class PrometheusServer:
    """`targets`: job -> address and instance of an exporter. `rules`: files. `locked`: it asks for USER and PASSWORD.

    `tls`: with a certificate of its own, in `authority`. `reloads`: who asks for it may have it read its configuration again.
    """

    def __init__(
        self,
        directory: Path,
        targets: Mapping[str, tuple[str, str]] | None = None,
        rules: tuple[Path, ...] = (),
        locked: bool = False,
        tls: bool = False,
        reloads: bool = False,
    ) -> None:
        for program in ("prometheus", "promtool"):
            if not shutil.which(program):
                pytest.fail(f"{program} is not installed: run `make setup`")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._locked = locked
        self._more = ["--web.enable-lifecycle"] if reloads else []
        self.port = free_port()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.authority = directory / "certificate.pem"
        self._process: subprocess.Popen[bytes] | None = None
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [address], "labels": {"instance": instance}}]}
            for job, (address, instance) in (targets or {}).items()
        ]
        (directory / "prometheus.yml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(path) for path in rules],
                    "scrape_configs": jobs,
                }
            )
        )
        web: dict[str, Any] = {"basic_auth_users": {USER: _HASH}} if locked else {}
        if tls:
            certify(self.authority)
            web["tls_server_config"] = {"cert_file": "certificate.pem", "key_file": "certificate.key"}
        (directory / "web.yml").write_text(yaml.safe_dump(web))

    def remember(self, openmetrics: str) -> None:
        """Before it is started: what it is to have seen, with times in seconds."""
        past = self._directory / "past.txt"
        past.write_text(openmetrics)
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", past, self._directory / "data"],
            check=True,
            capture_output=True,
        )

    def start(self) -> PrometheusServer:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *DIES_WITH_US,
                    "prometheus",
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--web.config.file={self._directory / 'web.yml'}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    *self._more,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_TIME
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError((self._directory / "log").read_text()[-2000:])
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            trust = ssl.create_default_context(cafile=self.authority) if self.authority.exists() else None
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5, context=trust) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 401  # it asks who it is, and so it is there
        except OSError:
            return False
