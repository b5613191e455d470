"""What Alertmanager tells: a webhook on this machine, at its address in the network of the test hosts."""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Told:
    """One alert in one notification."""

    at: float
    """When it came, in seconds since the epoch."""
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    group: str = ""
    """Of its notification: a receiver knows of each group what the last one said."""

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    def __str__(self) -> str:
        labels = ", ".join(f"{k}={v}" for k, v in sorted(self.labels.items()) if k != "alertname")
        return f"{self.name}({labels})"


class Sink:
    """Everything that was told, in order."""

    def __init__(self) -> None:
        self.began = time.time()
        self.told: list[Told] = []
        self._last: dict[str, list[Told]] = {}
        self._lock = threading.Lock()
        self.url = ""

    def take(self, notification: Mapping[str, Any]) -> None:
        now = time.time()
        alerts = [
            Told(
                now, each["status"] == "firing", each["labels"], each["annotations"], notification["groupKey"]
            )
            for each in notification["alerts"]
        ]
        with self._lock:
            self.told += alerts
            self._last[notification["groupKey"]] = alerts

    def since(self, moment: float) -> list[Told]:
        with self._lock:
            return [each for each in self.told if each.at >= moment]

    def firing(self) -> list[Told]:
        """What a reader of the last notification of each group takes to go on.

        An alert that is inhibited when it ends is not told of again: its group's next notification leaves it out.
        """
        with self._lock:
            return [each for alerts in self._last.values() for each in alerts if each.firing]


@contextmanager
def listening(subnet: str) -> Iterator[Sink]:
    """A sink at the first address of the hosts' network, which is this machine's."""
    address = str(next(ipaddress.ip_network(subnet).hosts()))
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sink.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what was told is in the sink."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        sink.url = f"http://{address}:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield sink
        server.shutdown()
        thread.join()
