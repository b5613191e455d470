"""Real peers of the tasks: an HTTP server, a mail server, and a plain worker without the fleet's runtime."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from celery.contrib.abortable import AbortableAsyncResult
from kombu import pools

from integration.support import DIES_WITH_US, PASSWORD, SRC, USER, RedisServer, eventually
from taskapp.settings import PREFIX


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    path = tmp_path / "state"
    monkeypatch.setenv("TASKAPP_STATE_DIR", str(path))
    return path


@dataclass
class Peer:
    """An HTTP server that answers each path as told, and remembers what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    delay: float = 0
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            peer.requests.append((self.command, self.path, dict(self.headers), body))
            time.sleep(peer.delay)
            status, content = peer.answers.get(self.path, (404, b""))
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except BrokenPipeError:
                pass

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        peer.url = f"http://127.0.0.1:{server.server_port}"
        yield peer
        server.shutdown()
        thread.join()


@dataclass
class PlainWorker:
    """`celery -A taskapp.app:app worker`, and an app to send it tasks."""

    app: Celery
    environment: dict[str, str]
    log_file: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def abort(self, task_id: str) -> None:
        """Ask the task to stop."""
        with warnings.catch_warnings():
            # Celery 5.7 stores results with a command that redis-py 8.1 calls deprecated.
            warnings.filterwarnings("ignore", "Call to deprecated setex", DeprecationWarning)
            AbortableAsyncResult(task_id, app=self.app).abort()


@pytest.fixture
def plain_worker(
    redis_server: RedisServer, state_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[PlainWorker]:
    """A worker with one child; extra command line options by indirect parametrisation."""
    login = f"redis://{USER}:{quote(PASSWORD, safe='')}@{redis_server.host}"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SRC),
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser",
        "CELERY_BROKER_URL": f"{login}/0",
        "CELERY_RESULT_BACKEND": f"{login}/1",
        "TASKAPP_STATE_DIR": str(state_dir),
    }
    log_file = tmp_path / "worker.log"
    options = [
        "--without-mingle",
        "--without-gossip",
        "-l",
        "info",
        "-c",
        "1",
        *getattr(request, "param", ()),
    ]
    command = [*DIES_WITH_US, sys.executable, "-m", "celery", "-A", "taskapp.app:app", "worker", *options]
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, process_group=0
        ) as process,
        Celery("client", broker=f"{login}/0", backend=f"{login}/1", set_as_current=False) as app,
    ):
        worker = PlainWorker(app, environment, log_file, process)
        try:
            eventually(lambda: " ready." in worker.log or process.poll() is not None, what="a ready worker")
            assert process.poll() is None, worker.log
            yield worker
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            app.backend.client.close()
            pools.reset()
