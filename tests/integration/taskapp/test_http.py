"""Tasks that talk to HTTP servers."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.taskapp.conftest import Peer
from prometheus import PrometheusServer
from taskapp import registry
from taskapp.applications import check_health, update_metadata
from taskapp.errors import TransientError
from taskapp.promgen import notify, write_targets
from taskapp.settings import Application
from taskapp.store import current_store

GOOD = [{"targets": ["web1:9100"], "labels": {"job": "node"}}]
OLD = [{"targets": ["web0:9100"], "labels": {"job": "node"}}]


@pytest.fixture
def closed_port() -> Iterator[str]:
    """The URL of a port where nobody listens: bound, so nobody else takes it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_health_and_latency_are_stored(peer: Peer) -> None:
    """A2"""
    peer.answers["/health"] = (200, b"fine")
    peer.delay = 0.05
    answer = check_health("shop", f"{peer.url}/health")["result"]
    assert (answer["health"], answer["status_code"]) == ("up", 200)
    assert 50 <= answer["latency_ms"] < 2000
    stored = registry.application(current_store(), "shop")
    assert (stored["health"], stored["latency_ms"]) == ("up", answer["latency_ms"])
    assert time.time() - stored["checked_at"] < 10


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_application_that_answers_badly_is_down(peer: Peer, status: int) -> None:
    peer.answers["/health"] = (status, b"")
    assert check_health("shop", f"{peer.url}/health")["result"]["health"] == "down"


def test_an_application_that_is_not_there_is_unreachable(closed_port: str) -> None:
    answer = check_health("shop", closed_port)["result"]
    assert (answer["health"], answer["latency_ms"]) == ("unreachable", None)
    assert check_health("shop")["result"]["health"] == "unreachable"


def test_a_slow_application_is_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKAPP_HTTP_TIMEOUT", "0.2")
    peer.delay = 1
    started = time.monotonic()
    assert check_health("shop", f"{peer.url}/health")["result"]["health"] == "unreachable"
    assert time.monotonic() - started < 0.9


def test_metadata_is_fetched_and_stored(peer: Peer) -> None:
    """A2"""
    peer.answers["/meta"] = (200, b'{"version": "1.2", "owner": "shop team"}')
    registry.register(
        current_store(), Application(id="shop", health_url=peer.url, metadata_url=f"{peer.url}/meta")
    )
    assert update_metadata("shop")["result"]["metadata"] == {"version": "1.2", "owner": "shop team"}
    assert registry.application(current_store(), "shop")["metadata"]["version"] == "1.2"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, b"<html>"), "is not JSON"),
        ((200, b"[1]"), "is not a JSON object"),
        ((200, b" " * 70_000), "more than 65536 bytes"),
        ((404, b""), "answered 404"),
    ],
)
def test_useless_metadata_changes_nothing(peer: Peer, answer: tuple[int, bytes], message: str) -> None:
    registry.register(current_store(), Application(id="shop", health_url=peer.url))
    registry.save_metadata(current_store(), "shop", {"version": "1"})
    peer.answers["/meta"] = answer
    result = update_metadata("shop", f"{peer.url}/meta")
    assert result["status"] == "error"
    assert message in result["message"]
    assert registry.application(current_store(), "shop")["metadata"] == {"version": "1"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_peer_in_trouble_is_asked_again(peer: Peer, status: int) -> None:
    registry.register(current_store(), Application(id="shop", health_url=peer.url))
    peer.answers["/meta"] = (status, b"")
    result = update_metadata.apply(args=["shop", f"{peer.url}/meta"])
    assert isinstance(result.result, TransientError)
    assert len(peer.requests) == 4


def test_a_notification_is_posted_once_with_its_key(peer: Peer) -> None:
    """P3: what the worker does, which the one who raises the alert need not wait for."""
    peer.answers["/hook"] = (204, b"")
    answers = [notify({"alert": "disk full"}, f"{peer.url}/hook", "alert-7")["result"] for _ in range(2)]
    assert [answer["sent"] for answer in answers] == [True, False]
    [(method, _, headers, body)] = peer.requests
    assert (method, headers["Idempotency-Key"], headers["Content-Type"]) == (
        "POST",
        "alert-7",
        "application/json",
    )
    assert json.loads(body) == {"alert": "disk full"}


def test_the_key_follows_from_what_is_sent_and_where(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.answers["/hook"] = (200, b"")
    monkeypatch.setenv("TASKAPP_WEBHOOK_URL", f"{peer.url}/hook")
    for payload in ({"alert": "a"}, {"alert": "b"}, {"alert": "a"}):
        notify(payload)
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in peer.requests]
    assert len(keys) == len(set(keys)) == 2


def test_a_notification_that_failed_is_repeated_with_the_same_key(peer: Peer) -> None:
    peer.answers["/hook"] = (503, b"")
    with pytest.raises(TransientError, match="answered 503"):
        notify({"alert": "a"}, f"{peer.url}/hook")
    peer.answers["/hook"] = (200, b"")
    assert notify({"alert": "a"}, f"{peer.url}/hook")["result"]["sent"] is True
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in peer.requests}) == 1


def test_a_secret_in_a_url_is_not_told(closed_port: str) -> None:
    url = closed_port.replace("//", "//user:sesame@") + "/token/sesame"
    with pytest.raises(TransientError) as error:
        notify({"alert": "a"}, url)
    assert "sesame" not in str(error.value)


@pytest.fixture
def targets(state_dir: Path) -> Path:
    return state_dir / "targets" / "node.json"


def reloading(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TASKAPP_PROMETHEUS_RELOAD_URL", f"{url}/-/reload")


def test_prometheus_is_told_of_its_targets(
    peer: Peer, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answers["/-/reload"] = (200, b"")
    reloading(monkeypatch, peer.url)
    assert write_targets("monitor1", "node", GOOD)["result"]["reloaded"] is True
    assert [(method, path) for method, path, _, _ in peer.requests] == [("POST", "/-/reload")]
    assert json.loads(targets.read_text()) == GOOD


def test_prometheus_is_told_who_asks(
    peer: Peer, tmp_path: Path, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answers["/-/reload"] = (200, b"")
    reloading(monkeypatch, peer.url)
    file = tmp_path / "credentials"
    file.write_text("app:geheim\n")
    monkeypatch.setenv("TASKAPP_PROMETHEUS_CREDENTIALS_FILE", str(file))
    assert write_targets("monitor1", "node", GOOD)["result"]["reloaded"] is True
    assert [headers["Authorization"] for _, _, headers, _ in peer.requests] == ["Basic YXBwOmdlaGVpbQ=="]
    file.unlink()
    answer = write_targets("monitor1", "node", OLD)
    assert (answer["status"], "credentials" in answer["message"]) == ("error", True)
    assert json.loads(targets.read_text()) == GOOD, "the previous file comes back"


def test_a_prometheus_by_tls_is_told_when_it_is_trusted(
    tmp_path: Path, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, that has its certificate from nobody."""
    server = PrometheusServer(tmp_path / "prometheus", tls=True, reloads=True).start()
    try:
        reloading(monkeypatch, server.url)
        with pytest.raises(TransientError, match="SSLError"):
            write_targets("monitor1", "node", GOOD)
        monkeypatch.setenv("TASKAPP_PROMETHEUS_CA_FILE", str(server.authority))
        assert write_targets("monitor1", "node", GOOD)["result"]["reloaded"] is True
    finally:
        server.stop()


@pytest.mark.parametrize("before", [None, OLD])
def test_what_prometheus_refuses_is_taken_back(
    peer: Peer, targets: Path, before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        write_targets("monitor1", "node", before)
    peer.answers["/-/reload"] = (500, b"failed to reload config: bad rule file")
    reloading(monkeypatch, peer.url)
    answer = write_targets("monitor1", "node", GOOD)
    assert answer["status"] == "error"
    assert "failed to reload config: bad rule file" in answer["message"]
    assert (json.loads(targets.read_text()) if targets.exists() else None) == before


def test_when_prometheus_is_away_the_old_file_stays_and_the_task_is_retried(
    closed_port: str, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_targets("monitor1", "node", OLD)
    reloading(monkeypatch, closed_port)
    with pytest.raises(TransientError):
        write_targets("monitor1", "node", GOOD)
    assert json.loads(targets.read_text()) == OLD
