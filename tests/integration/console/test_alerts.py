"""Alerts and silences, with a server that speaks Alertmanager's API."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from integration.console.conftest import Desk
from integration.support import eventually, free_port

LABELS = {"alertname": "QueueStuck", "severity": "critical", "queue": "email"}


class Alertmanager(ThreadingHTTPServer):
    """As much of it as the console uses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        now = datetime.now(UTC).isoformat()
        told = {"summary": "Nothing moves", "description": "Look.", "runbook_url": "javascript:alert(1)"}
        self.alerts: list[dict[str, Any]] = [
            _alert("f2", {"alertname": "Late", "severity": "warning"}, {"summary": "Late"}, now),
            _alert("f1", LABELS, told, now),
        ]
        self.silences: dict[str, dict[str, Any]] = {}
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.broken:
            return 500, "no"
        if path == "/api/v2/alerts":
            return 200, self.alerts
        if path == "/api/v2/silences" and method == "POST":
            made = body.pop("id", None) or str(uuid.uuid4())
            self.silences[made] = {**body, "id": made, "status": {"state": "active"}}
            return 200, {"silenceID": made}
        if path == "/api/v2/silences":
            return 200, list(self.silences.values())
        silence = self.silences.get(path.removeprefix("/api/v2/silence/"))
        if silence is None:
            return 404, ""
        if method == "DELETE":
            silence["status"] = {"state": "expired"}
        return 200, silence


def _alert(fingerprint: str, labels: dict[str, str], annotations: dict[str, str], at: str) -> dict[str, Any]:
    status = {"state": "active", "silencedBy": [], "inhibitedBy": []}
    return {
        **{"fingerprint": fingerprint, "labels": labels, "annotations": annotations},
        **{"startsAt": at, "status": status},
    }


class _Handler(BaseHTTPRequestHandler):
    server: Alertmanager

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        status, said = self.server.answer(self.command, self.path, body)
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that the library looks for

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    with Alertmanager() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(settings: dict[str, str], alertmanager: Alertmanager) -> dict[str, str]:
    return {**settings, "CONSOLE_ALERTMANAGER_URL": alertmanager.url}


def test_alerts_are_listed_silenced_and_heard_again(
    desk: Desk, client: httpx.Client, viewer: httpx.Client, alertmanager: Alertmanager
) -> None:
    found = client.get("/api/v1/alerts").json()
    assert found["available"]
    assert [(each["name"], each["severity"]) for each in found["alerts"]] == [
        ("QueueStuck", "critical"),
        ("Late", "warning"),
    ]
    eventually(
        lambda: client.get("/api/v1/overview").json()["counts"]["alerts"] == 2, what="the number of alerts"
    )
    stuck = found["alerts"][0]
    assert (stuck["summary"], stuck["labels"], stuck["runbook_url"]) == ("Nothing moves", LABELS, None)
    asked = {"fingerprint": "f1", "duration": 7200, "comment": "we know"}
    assert viewer.post("/api/v1/silences", json=asked).status_code == 403
    made = client.post("/api/v1/silences", json=asked)
    assert (made.status_code, made.json()["status"]) == (201, "silenced")
    again = client.post("/api/v1/silences", json=asked).json()
    assert again["id"] == made.json()["id"]
    [silence] = alertmanager.silences.values()
    assert (silence["createdBy"], silence["comment"]) == ("ann", "we know")
    assert {each["name"]: each["value"] for each in silence["matchers"]} == LABELS
    lasts = datetime.fromisoformat(silence["endsAt"]) - datetime.fromisoformat(silence["startsAt"])
    assert lasts == timedelta(hours=2)
    [shown] = client.get("/api/v1/alerts").json()["silences"]
    assert shown["text"] == 'alertname="QueueStuck" queue="email" severity="critical"'
    longer = client.post("/api/v1/silences", json={**asked, "duration": 86400}).json()
    assert longer["id"] == shown["id"]
    assert len(alertmanager.silences) == 1
    assert client.delete(f"/api/v1/silences/{shown['id']}").json()["status"] == "expired"
    assert "before" in client.delete(f"/api/v1/silences/{shown['id']}").json()["message"]
    assert [each.action for each in desk.fleet.audit.list()] == [
        "silence.expire",
        "silence.create",
        "silence.create",
    ]


def test_what_cannot_be_silenced(client: httpx.Client) -> None:
    matcher = {"name": "queue", "value": "email"}
    for status, asked in (
        (404, {"fingerprint": "gone"}),
        (422, {}),
        (422, {"fingerprint": "f1", "matchers": [matcher]}),
        (422, {"matchers": [matcher], "duration": 5}),
    ):
        assert client.post("/api/v1/silences", json=asked).status_code == status, asked
    assert client.post("/api/v1/silences", json={"matchers": [matcher]}).status_code == 201
    assert client.delete("/api/v1/silences/..%2Falerts").status_code == 404
    assert client.delete(f"/api/v1/silences/{uuid.uuid4()}").status_code == 404


def test_an_alertmanager_that_fails(client: httpx.Client, alertmanager: Alertmanager) -> None:
    alertmanager.broken = True
    found = client.get("/api/v1/alerts")
    assert (found.status_code, found.json()["available"]) == (200, False)
    assert "500" in found.json()["reason"]
    answer = client.post("/api/v1/silences", json={"fingerprint": "f1"})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_alertmanager")


class TestAway:
    @pytest.fixture
    def settings(self, settings: dict[str, str]) -> dict[str, str]:
        return {**settings, "CONSOLE_ALERTMANAGER_URL": f"http://127.0.0.1:{free_port()}"}

    def test_says_so(self, client: httpx.Client) -> None:
        found = client.get("/api/v1/alerts").json()
        assert (found["available"], found["alerts"]) == (False, [])
        assert "cannot be read" in found["reason"]
        answer = client.delete(f"/api/v1/silences/{uuid.uuid4()}")
        assert (answer.status_code, answer.json()["code"]) == (503, "no_alertmanager")
