"""The exporter's service: answers scrapes, and tells systemd that it does."""

import contextlib
import json
import logging
import signal
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6

import redis

from celery_fleet.service.notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval
from celery_fleet.service.tls import server_context
from celery_fleet.survey.taskmetrics import as_text

from . import families
from .reading import Fleet, Reading, read
from .settings import Settings

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SHARED = 1.0
"""Seconds for which scrapes share a reading."""
_COMPLAINT_PERIOD = 60.0


class Exporter:
    """Reads when it is asked, one thread at a time; who asks meanwhile gets the same."""

    def __init__(self, settings: Settings, look: Callable[[Fleet], Reading] = read) -> None:
        """Raises ValueError, InvalidTopology, InstallError."""
        self.settings = settings
        self.fleet = Fleet(settings)
        self._look = look
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._read_at = float("-inf")
        self._duration = 0.0
        self._reads = self._errors = 0
        self._succeeded_at: float | None = None
        self._reason = "it has not been asked yet"
        self._complained = float("-inf")

    def metrics(self) -> str:
        """The text of a scrape. Never raises for Redis: what does not need it is told all the same."""
        with self._lock:
            self._refresh()
            reading, topology = self._reading, self.fleet.topology
            found = [*families.always(self.settings, topology)]
            if reading:
                found += families.of_reading(reading, self.settings, topology)
            else:
                found.append(families.expected(self.settings.expected))
            found += families.own_health(
                reading is not None, self._duration, self._reads, self._errors, self._succeeded_at
            )
        return as_text(found)

    def health(self) -> tuple[bool, str]:
        """Whether Redis answers with what can be read, and why not."""
        with self._lock:
            with contextlib.suppress(Exception):  # the reason tells
                self._refresh()
            return self._reading is not None, self._reason

    def status(self) -> str:
        """For `systemctl status`."""
        if self._reads == 0:
            return "nobody has asked yet"
        return f"{self._reads} readings, the last took {self._duration * 1000:.0f} ms" + (
            "" if self._reading else f" and failed: {self._reason}"
        )

    def _refresh(self) -> None:
        began = time.monotonic()
        if began - self._read_at < _SHARED:
            return
        self._reads += 1
        try:
            self._reading, self._reason = self._look(self.fleet), ""
            self._succeeded_at = time.time()
        except (redis.RedisError, OSError) as error:
            self._reading, self._reason = None, f"{type(error).__name__}: {error}"
            self._errors += 1
            self._complain("Redis does not answer: %s")
        except Exception as error:
            # What Redis has cannot be understood: that is not told as if Redis were away.
            self._reading, self._reason = None, f"{type(error).__name__}: {error}"
            self._errors += 1
            self._complain("What is in Redis cannot be read: %s", traceback=True)
            raise
        self._read_at = time.monotonic()
        self._duration = self._read_at - began

    def _complain(self, text: str, traceback: bool = False) -> None:
        if time.monotonic() - self._complained > _COMPLAINT_PERIOD:
            self._complained = time.monotonic()
            log.warning(text, self._reason, exc_info=traceback)


def handler(exporter: Exporter) -> type[BaseHTTPRequestHandler]:
    """Answers `/metrics` and `/healthz`."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "celery-exporter"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            try:
                self._get(self.path.partition("?")[0])
            except OSError:  # who asked has gone
                raise
            except Exception as error:
                text = f"{type(error).__name__}: {error}; see the journal of celery-exporter\n"
                self._answer(500, "text/plain; charset=utf-8", text)

        def _get(self, path: str) -> None:
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE, exporter.metrics())
            elif path == "/healthz":
                well, reason = exporter.health()
                body = json.dumps({"status": "ok"} if well else {"status": "unavailable", "reason": reason})
                self._answer(200 if well else 503, "application/json", body + "\n")
            else:
                self._answer(404, "text/plain; charset=utf-8", "/metrics or /healthz\n")

        def _answer(self, code: int, kind: str, body: str) -> None:
            data = body.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who scrapes knows."""

    return Handler


class Server(ThreadingHTTPServer):
    """A thread for each scrape, its handshake included."""

    daemon_threads = True
    request_queue_size = 64

    def secure(self, context: ssl.SSLContext) -> None:
        """By TLS from now on."""
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        log.debug("A request was broken off", exc_info=True)


def serve(exporter: Exporter, variables: Mapping[str, str]) -> int:
    """Serves until SIGTERM. Raises OSError when nothing can be listened on, ValueError for a certificate."""
    settings = exporter.settings
    tls = server_context(variables, "CELERY_EXPORTER")
    kind = type("Server6", (Server,), {"address_family": AF_INET6}) if ":" in settings.host else Server
    server = kind((settings.host, settings.port), handler(exporter))
    if tls:
        server.secure(tls)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    scheme = "https" if tls else "http"
    log.info("Serving %s://%s:%s/metrics", scheme, settings.host, server.server_address[1])
    notify(READY, status("Nobody has asked yet"))
    interval = watchdog_interval(variables)
    while not ended.wait(min(5.0, (interval or 20.0) / 4)):
        if serving.is_alive():
            notify(WATCHDOG, status(exporter.status()))
    notify(STOPPING)
    server.shutdown()
    server.server_close()
    exporter.fleet.close()
    return 0
