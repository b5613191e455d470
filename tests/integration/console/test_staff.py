"""Queues, workers and pools by the console: what is known of them without asking a worker, pausing and draining."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from integration.console.conftest import VARIABLES, Desk, wait_status
from integration.support import Service, eventually

StartWorker = Callable[..., Service]


def queue(client: httpx.Client, name: str = "celery") -> dict[str, Any]:
    answer = client.get(f"/api/v1/queues/{name}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def submit(client: httpx.Client, task: str, *args: Any, **more: Any) -> str:
    answer = client.post("/api/v1/tasks", json={"type": task, "args": args, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def test_a_queue_without_workers(desk: Desk, client: httpx.Client) -> None:
    for priority, count in ((10, 1), (5, 2)):
        for _ in range(count):
            submit(client, "process", 1, priority=priority)
    submit(client, "process", 1, countdown=600)
    found = queue(client)
    assert (found["waiting"], found["by_priority"], found["due"]) == (3, {"10": 1, "5": 2}, 1)
    assert (found["consumers"], found["workers"], found["urgency"], found["target"]) == (
        0,
        [],
        "standard",
        60,
    )
    assert 0 <= found["oldest"] < 30
    assert not found["late"]
    assert [(each["priority"], each["position"]) for each in found["tasks"]] == [(10, 1), (5, 1), (5, 2)]
    assert (found["tasks"][0]["name"], found["settings"]["time_limit"]) == ("consoleapp.process", 60)
    assert queue(client, "email")["routes"] == ["mail.*"]
    every = client.get("/api/v1/queues").json()
    assert (every["count"], every["pausable"]) == (3, True)
    assert [each["name"] for each in every["queues"]] == ["celery", "email", "bulk"]
    assert client.get("/api/v1/queues/nobody").status_code == 404


def test_a_paused_queue_waits_and_goes_on(
    desk: Desk, client: httpx.Client, viewer: httpx.Client, worker: StartWorker
) -> None:
    worker()
    assert viewer.post("/api/v1/queues/celery/pause").status_code == 403
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(
            lambda _: client.post("/api/v1/queues/celery/pause", json={"reason": "new mail server"}), range(4)
        )
    assert sorted(answer.json()["changed"] for answer in answers) == [False, False, False, True]
    task_id = submit(client, "consoleapp.process", 1)
    other = submit(client, "consoleapp.process", 2, queue="email")
    wait_status(client, other, "SUCCESS")
    paused = queue(client)
    assert (paused["paused"]["by"], paused["paused"]["reason"]) == ("ann", "new mail server")
    assert (paused["waiting"], paused["tasks"][0]["task_id"]) == (1, task_id)
    found = client.get("/api/v1/overview").json()
    assert [each["text"] for each in found["findings"]] == [
        "paused: the queue celery, by ann (new mail server). `fleet resume celery`"
    ]
    assert found["counts"]["queues_paused"] == 1
    assert client.post("/api/v1/queues/celery/resume").json()["changed"]
    assert not client.post("/api/v1/queues/celery/resume").json()["changed"]
    wait_status(client, task_id, "SUCCESS")
    assert [each.action for each in desk.fleet.audit.list() if each.action.startswith("queue")] == [
        "queue.resume",
        "queue.pause",
    ]


def test_workers_and_what_they_run(desk: Desk, client: httpx.Client, worker: StartWorker) -> None:
    service = worker(pool="threads", concurrency=2)
    task_id = submit(client, "consoleapp.nap", 30)

    def busy() -> Any:
        found = client.get("/workers").json()["workers"][0]
        return found if found["busy"] else None

    found = eventually(busy, what="a busy worker")
    assert (found["state"], found["kind"], found["concurrency"]) == ("alive", "threads", 2)
    assert found["cannot"] == ["end a task that runs", "enforce time limits"]
    assert (found["queues"], found["release"], found["pid"]) == (
        ["celery", "email", "bulk"],
        "r1",
        service.process.pid,
    )
    assert found["memory"] > 10_000_000
    detail = client.get(f"/api/v1/workers/{found['node']}").json()
    assert [(task["task_id"], task["name"]) for task in detail["running"]] == [(task_id, "consoleapp.nap")]
    running = queue(client)
    assert (running["running"], running["unacked"], running["workers"]) == (1, 1, [found["node"]])
    [pool] = client.get("/api/v1/pools").json()["pools"]
    assert (pool["name"], pool["busy"], pool["saturation"], pool["alive"]) == ("default", 1, 0.5, 1)
    assert client.get("/api/v1/pools/default").json() == pool
    begun = time.perf_counter()
    for _ in range(5):
        client.get("/workers")
    assert time.perf_counter() - begun < 2.5, "no worker is asked"
    assert client.get("/api/v1/workers/nobody@nowhere").status_code == 404


def test_a_drained_pool_takes_nothing_more(client: httpx.Client, worker: StartWorker) -> None:
    worker()
    [node] = [each["node"] for each in client.get("/workers").json()["workers"]]
    assert client.post("/api/v1/pools/default/drain", json={"reason": "upgrade"}).json()["changed"]
    assert not client.post("/api/v1/pools/default/drain").json()["changed"]
    found = client.get(f"/api/v1/workers/{node}").json()
    assert (found["draining"]["by"], found["draining"]["reason"]) == ("ann", "upgrade")
    task_id = submit(client, "consoleapp.process", 1)
    assert (queue(client)["consumers"], queue(client)["waiting"]) == (0, 1)
    refused = client.post(f"/api/v1/workers/{node}/undrain")
    assert (refused.status_code, refused.json()["code"]) == (409, "pool_drained")
    assert client.post("/api/v1/pools/default/undrain").json()["changed"]
    wait_status(client, task_id, "SUCCESS")
    assert client.post(f"/api/v1/workers/{node}/drain").json()["kind"] == "worker"
    assert client.get("/api/v1/pools").json()["pools"][0]["draining"] == 1
    assert client.post(f"/api/v1/workers/{node}/undrain").json()["changed"]
    assert client.post("/api/v1/pools/nobody/drain").status_code == 404
    assert client.post("/api/v1/workers/default/drain").status_code == 404


class TestStock:
    """Workers of stock delivery do not look at the marks."""

    @pytest.fixture
    def variables(self) -> dict[str, Any]:
        return {**VARIABLES, "celery_delivery": "stock"}

    def test_nothing_can_be_paused(self, desk: Desk, client: httpx.Client) -> None:
        answer = client.post("/api/v1/queues/celery/pause")
        assert (answer.status_code, answer.json()["code"]) == (409, "stock_delivery")
        assert not client.get("/api/v1/queues").json()["pausable"]
        assert desk.fleet.audit.list() == []
