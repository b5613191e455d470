"""The overview, its charts and its stream; figures for Prometheus; health. From two consoles they are the same."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from celery_fleet.console import live
from celery_fleet.console.application import create_app
from celery_fleet.console.live import Hub
from celery_fleet.console.settings import Settings
from integration.console.conftest import OPERATOR, Desk, client_of, served, wait_status
from integration.support import RedisServer, eventually

DOCUMENTED = {
    "task_submissions_total": "counter",
    "task_completions_total": "counter",
    "task_duration_seconds": "histogram",
    "task_retries_total": "counter",
    "tasks_in_dlq_total": "gauge",
    "active_workers_total": "gauge",
    "pending_tasks_total": "gauge",
    "retry_tasks_total": "gauge",
    "task_failures_total": "counter",
    "worker_errors_total": "counter",
}


@pytest.fixture
def busy(client: httpx.Client, worker: Callable[..., Any]) -> None:
    """Two tasks have succeeded and one has failed."""
    worker()
    for name, data, status in (
        ("process", 1, "SUCCESS"),
        ("calculate", 2, "SUCCESS"),
        ("fail", "no", "FAILURE"),
    ):
        task_id = client.post("/api/v1/tasks", json={"type": name, "data": data}).json()["task_id"]
        wait_status(client, task_id, status)


@pytest.mark.usefixtures("busy")
def test_overview_and_charts(client: httpx.Client, desk: Desk) -> None:
    def counted() -> Any:
        # The share is of the charts' series, which consoles read once a second: totals are never behind it.
        found = client.get("/api/v1/overview").json()
        return found if found["failed_share"] else None

    found = eventually(counted, what="the figures")
    assert found["totals"] == {"received": 3, "succeeded": 2, "failed": 1, "retried": 0, "revoked": 0}
    assert found["failed_share"] == pytest.approx(1 / 3, abs=0.001)
    counts = found["counts"]
    assert (counts["workers_alive"], counts["slots"], counts["dead"], counts["alerts"]) == (1, 1, 1, None)
    assert (found["fleet"], found["headline"], found["findings"]) == ("fleet", "well", [])
    assert found["redis"]["ok"]
    assert [queue["name"] for queue in found["queues"]] == ["celery", "email", "bulk"]

    def drawn() -> Any:
        charts = client.get("/api/v1/charts", params={"minutes": 15}).json()
        return charts if sum(charts["failed"]) else None

    charts = eventually(drawn, what="the charts")
    assert (len(charts["at"]), charts["step"]) == (90, 10)
    assert (sum(charts["succeeded"]), sum(charts["failed"])) == (2, 1)
    assert [value for value in charts["backlog"] if value is not None], "what the queues hold is sampled"
    assert charts["queues"]["celery"]["target"] == 60
    assert all(len(line) == 90 for line in charts["queues"]["celery"].values() if isinstance(line, list))
    week = client.get("/api/v1/charts", params={"minutes": 11520, "queue": "celery"}).json()
    assert (week["step"], sum(week["succeeded"]), list(week["queues"])) == (1800, 2, ["celery"])
    assert client.get("/api/v1/charts", params={"queue": "nobody"}).status_code == 404


@pytest.mark.usefixtures("busy")
def test_figures_for_prometheus(client: httpx.Client, desk: Desk, settings: dict[str, str]) -> None:
    def told() -> str:
        text = httpx.get(f"{desk.url}/metrics").text
        return text if "task_failures_total{" in text else ""

    text = eventually(told, what="the figures")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == DOCUMENTED
    for line in (
        'task_submissions_total{priority="normal",type="process"} 1',
        'task_completions_total{type="calculate",status="success"} 1',
        'task_completions_total{type="consoleapp.fail",status="failure"} 1',
        'task_failures_total{type="consoleapp.fail",error="ValueError"} 1',
        'task_duration_seconds_count{type="process"} 1',
        'task_duration_seconds_bucket{type="process",le="+Inf"} 1',
        "task_retries_total 0",
        "tasks_in_dlq_total 1",
        "active_workers_total 1",
        'pending_tasks_total{priority="high"} 0',
        "retry_tasks_total 0",
    ):
        assert f"\n{line}\n" in text, text
    assert re.search(r'worker_errors_total\{worker="default@\S+",type="ValueError"\} 1', text)
    outside = {"X-Forwarded-For": "192.0.2.7"}
    assert httpx.get(f"{desk.url}/metrics", headers=outside).status_code == 401, "it came through a proxy"
    assert client.get("/metrics", headers=outside).status_code == 200, "with a key"
    # Another console, begun later, says the same.
    with served(create_app(Settings.read(settings))) as other:
        assert httpx.get(f"{other}/metrics").text == text
    if not shutil.which("promtool"):
        pytest.fail("promtool is not installed: run `make setup`")
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    # Its only complaint is about the names that are documented.
    complaints = (lint.stdout + lint.stderr).splitlines()
    assert {complaint.partition(" ")[2] for complaint in complaints} == {
        'non-counter metrics should not have "_total" suffix'
    }


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream, as they come."""
    event: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            event[name] = value.strip()
        elif event:
            yield event
            event = {}


def test_a_stream_tells_what_happens(client: httpx.Client) -> None:
    with client.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        stream = events(answer.iter_lines())
        assert next(stream) == {"retry": "2000"}
        first = next(stream)
        assert (first["event"], json.loads(first["data"])["overview"]["counts"]["waiting"]) == ("overview", 0)
        client.post("/api/v1/tasks", json={"type": "process", "data": 1})
        begun = time.monotonic()
        for event in stream:
            if json.loads(event["data"])["overview"]["counts"]["waiting"] == 1:
                break
        assert time.monotonic() - begun < 5
        assert event["id"] > first["id"]


def test_a_console_that_stops_does_not_wait_for_streams(fleet_app: Any, desk: Desk) -> None:
    with client_of(desk.url, OPERATOR) as client, client.stream("GET", "/api/v1/events") as answer:
        stream = events(answer.iter_lines())
        next(stream)
        hub: Hub = fleet_app.state.hub
        assert hub.clients == 1
        loop = hub._tasks[0].get_loop()
        begun = time.monotonic()
        asyncio.run_coroutine_threadsafe(hub.close(), loop).result(10)
        list(stream)
        assert time.monotonic() - begun < 2
        assert client_of(desk.url, OPERATOR).get("/api/v1/events").json()["code"] == "too_many_streams"
    eventually(lambda: hub.clients == 0, what="the end of the stream")


def test_many_streams_share_one_look(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(*arguments: Any) -> Any:
        looks.append(arguments)
        return read(*arguments)

    read = live.overview
    monkeypatch.setattr(live, "overview", look)

    async def watch() -> float:
        hub = Hub(desk.fleet, period=0.2, limit=200)
        await hub.start()
        streams = [hub.stream() for _ in range(200)]
        await asyncio.gather(*(_news(stream) for stream in streams))
        used = time.process_time()
        await asyncio.gather(*(_news(stream) for stream in streams))
        used = time.process_time() - used
        with pytest.raises(Exception, match="no more streams"):
            hub.admit()
        await hub.close()
        for stream in streams:
            assert [chunk async for chunk in stream] == []
        assert hub.clients == 0
        return used

    assert asyncio.run(watch()) < 0.5
    assert len(looks) <= 4


async def _news(stream: AsyncIterator[bytes]) -> bytes:
    async for chunk in stream:
        if b"event: overview" in chunk:
            return chunk
    raise AssertionError("the stream has ended")


class TestAway:
    """Redis goes away."""

    @pytest.fixture
    def redis_server(self, own_redis_server: RedisServer) -> RedisServer:
        own_redis_server.start()
        return own_redis_server

    def test_health_and_streams_say_so_and_go_on(self, desk: Desk, client: httpx.Client) -> None:
        assert httpx.get(f"{desk.url}/health").json()["status"] == "healthy"
        with client.stream("GET", "/api/v1/events") as answer:
            stream = events(answer.iter_lines())
            desk.server.stop()
            trouble = next(event for event in stream if event.get("event") == "trouble")
            assert json.loads(trouble["data"])["code"] == "redis_away"
            away = httpx.get(f"{desk.url}/health", timeout=20)
            assert (away.status_code, away.json()["status"]) == (503, "unhealthy")
            assert client.get("/api/v1/overview").status_code == 503
            assert client.get("/metrics").status_code == 503
            desk.server.start()
            assert next(event for event in stream if event.get("event") == "overview")
        assert httpx.get(f"{desk.url}/health").status_code == 200


def test_the_audit_is_read_page_by_page(client: httpx.Client, desk: Desk) -> None:
    for number in range(5):
        desk.fleet.audit.add("ann", "queue.pause", f"q{number}", details={"reason": "x"})
    first = client.get("/api/v1/audit", params={"limit": 3}).json()
    rest = client.get("/api/v1/audit", params={"limit": 3, "before": first["next"]}).json()
    assert [each["subject"] for each in first["entries"] + rest["entries"]] == ["q4", "q3", "q2", "q1", "q0"]
    assert rest["next"] is None
    assert client.get("/api/v1/audit", params={"before": "x"}).status_code == 422
