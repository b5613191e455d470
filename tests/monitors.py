"""Prometheus and Alertmanager of a deployed fleet, asked from their own host: nobody else may reach them."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testinfra.host import Host

from hosts import Fleet
from infra.http import run_python, secret

_ASK = """
import json, ssl, sys, urllib.request
trust = ssl.create_default_context(cafile="/etc/ssl/celery-fleet/authority.pem") if sys.argv[1].startswith("https:") else None
asked = json.load(sys.stdin)
body = None if asked["body"] is None else json.dumps(asked["body"]).encode()
answers = []
for path in asked["paths"]:
    request = urllib.request.Request(sys.argv[1] + path, data=body, headers=asked["headers"], method=asked["method"])
    answers.append(urllib.request.urlopen(request, timeout=20, context=trust).read().decode())
print(json.dumps(answers))
"""
"""Not every host has curl."""


@dataclass(frozen=True)
class Api:
    """An HTTP API of a host, and the name and the password that it asks for."""

    host: Host
    url: str
    credentials: str = field(default="", repr=False)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What it answers, as JSON; its own words when that is none."""
        (answer,) = self.ask_all([path], method, body)
        return answer

    def ask_all(self, paths: Iterable[str], method: str = "GET", body: Any = None) -> list[Any]:
        """One answer for each path, by one connection to the host."""
        headers = {"Content-Type": "application/json"}
        if self.credentials:
            headers["Authorization"] = f"Basic {base64.b64encode(self.credentials.encode()).decode()}"
        asked = {"headers": headers, "method": method, "body": body, "paths": list(paths)}
        return [
            _json(text) for text in json.loads(run_python(self.host, _ASK, self.url, told=json.dumps(asked)))
        ]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Prometheus(Api):
    """Its HTTP API."""

    def get(self, path: str) -> Any:
        """The data of a path below /api/v1."""
        return self.ask(f"/api/v1/{path}")["data"]

    def samples(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an expression gives now."""
        (found,) = self.samples_of([expression])
        return found

    def samples_of(self, expressions: Iterable[str]) -> list[list[tuple[dict[str, str], float]]]:
        """As `samples`, for each of them."""
        paths = [f"/api/v1/query?query={urllib.parse.quote(expression)}" for expression in expressions]
        return [
            [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]
            for answer in self.ask_all(paths)
        ]

    def had(self, expressions: Iterable[str], since: float) -> list[bool]:
        """For each of them: whether it has given a series at some time since then (seconds since the epoch)."""
        span = f"start={since:.0f}&end={time.time():.0f}&step=5"
        paths = [f"/api/v1/query_range?query={urllib.parse.quote(each)}&{span}" for each in expressions]
        return [bool(answer["data"]["result"]) for answer in self.ask_all(paths)]

    def query(self, expression: str, label: str = "instance") -> dict[str, float]:
        """Values by one label."""
        return {labels[label]: value for labels, value in self.samples(expression)}


def credentials(variables: Mapping[str, Any], user: str = "operator") -> str:
    """`user:password` of Prometheus and Alertmanager; empty when they ask for none."""
    if not variables.get("monitoring_web_auth", True):
        return ""
    return f"{user}:{secret(variables, f'monitoring-{user}')}"


def prometheus_of(fleet: Fleet) -> Prometheus:
    """The fleet's Prometheus."""
    return Prometheus(*_place(fleet, "prometheus", 9090))


def alertmanager_of(fleet: Fleet) -> Api:
    """The fleet's Alertmanager."""
    return Api(*_place(fleet, "alertmanager", 9093))


def _place(fleet: Fleet, service: str, port: int) -> tuple[Host, str, str]:
    (name,) = fleet.groups["monitoring"]
    variables = fleet.variables(name)
    address = variables.get(f"monitoring_{service}_address", "127.0.0.1")
    port = variables.get(f"monitoring_{service}_port", port)
    secured = variables.get("celery_tls") and not address.startswith(("127.", "localhost", "::1", "[::1"))
    return fleet.host(name), f"http{'s' if secured else ''}://{address}:{port}", credentials(variables)
