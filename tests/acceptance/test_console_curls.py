"""C6, C7, C8, D2, D3, D8: what the console answers to the commands that users were given.

Each command of the table is run by a real curl, as it was written but for the host, the key and the id of a task; what
comes back is compared with the documented answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acceptance import units
from acceptance.waiting import eventually
from consoles import Console, deployed
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")

ECHO, SLEEP, FAIL = "taskapp.diagnostics.echo", "taskapp.diagnostics.sleep", "taskapp.diagnostics.fail"
HOST, POOL, QUEUE = "worker2", "reports", "reports"
THREADS_QUEUE = "email"

CANCEL = """curl -X DELETE https://tasks.ft.tc/api/v1/tasks/{task_id} \\
  -H "X-API-Key: your-api-key"
"""
METRICS = """curl https://tasks.ft.tc/api/v1/tasks/metrics \\
  -H "X-API-Key: your-api-key"
"""
HEALTH = """curl https://tasks.ft.tc/api/v1/tasks/health \\
  -H "X-API-Key: your-api-key"
"""
LETTERS = "curl http://localhost:8000/dlq/failed-tasks"
RETRY = "curl -X POST http://localhost:8000/dlq/failed-tasks/{TASK_ID}/retry"
DELETE = "curl -X DELETE http://localhost:8000/dlq/failed-tasks/{TASK_ID}"
CALCULATE = """curl -X POST http://localhost:8000/tasks \\
  -H "Content-Type: application/json" \\
  -d '{
    "type": "calculate",
    "data": 999,
    "priority": "high"
  }'
"""
PROCESS = """curl -X POST http://localhost:8000/tasks \\
  -H "Content-Type: application/json" \\
  -d '{"type": "process", "data": "test"}'
"""
STATUS = "curl http://localhost:8000/tasks/{TASK_ID}"
OWN_METRICS = "curl http://localhost:8000/metrics"
SOME_METRICS = "curl http://localhost:8000/metrics | grep task_"
TARGETS = "curl http://localhost:9090/api/v1/targets"

REFERENCE = {
    "all tasks": "curl http://localhost:8000/tasks",
    "health": "curl http://localhost:8000/health",
    "workers": "curl http://localhost:8000/workers",
}
"""Paths that are documented without a command."""

NAMES = (
    "task_submissions_total",
    "task_completions_total",
    "task_duration_seconds",
    "task_retries_total",
    "tasks_in_dlq_total",
    "active_workers_total",
    "pending_tasks_total",
    "retry_tasks_total",
    "task_failures_total",
    "worker_errors_total",
)

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    status: int
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


Curl = Callable[..., Answer]


@pytest.fixture(scope="module")
def console(fleet: Fleet) -> Console:
    return deployed(fleet)


@pytest.fixture
def curl(console: Console, tmp_path: Path) -> Curl:
    """curl(command, id) runs a command of the table."""
    heads = tmp_path / "head"

    def run(command: str, task_id: str = "") -> Answer:
        options = f"curl -sS --max-time 20 -D '{heads}'"
        if console.trusted:
            options += f" --cacert '{console.trusted[0]}'"
        if "your-api-key" not in command and ":9090" not in command:
            options += f" -H 'X-API-Key: {console.operator}'"
        if ":9090" in command and console.monitor:
            options += f" --user '{console.monitor}'"
        for old, new in {
            "curl": options,
            "https://tasks.ft.tc": console.url,
            "http://localhost:8000": console.url,
            "http://localhost:9090": console.prometheus,
            "your-api-key": console.operator,
            "{task_id}": task_id,
            "{TASK_ID}": task_id,
        }.items():
            command = command.replace(old, new, 1)
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (command, done.stderr)
        return Answer(int(heads.read_text().split()[1]), done.stdout)

    return run


def until(console: Console, task_id: str, *states: str) -> str:
    return eventually(
        lambda: console.state(task_id), f"task {task_id} is {states}", until=lambda s: s in states
    )


def ended(console: Console, task_id: str) -> Any:
    until(console, task_id, "SUCCESS", "FAILURE", "REVOKED")
    return console.get(f"/api/v1/tasks/{task_id}")


@pytest.fixture
def dead(console: Console) -> str:
    """The id of a task that has failed for good."""
    task_id = console.submit(FAIL, QUEUE, message=f"for {uuid.uuid4()}")
    until(console, task_id, "FAILURE")
    return task_id


@pytest.fixture
def paused(console: Console) -> Iterator[None]:
    """Nobody takes what is sent to QUEUE."""
    console.request("POST", f"/api/v1/queues/{QUEUE}/pause", {"reason": "a test"})
    yield
    console.post(f"/api/v1/queues/{QUEUE}/resume")


def waiting(console: Console) -> int:
    return int(console.get(f"/api/v1/queues/{QUEUE}")["waiting"])


def was_cancelled(answer: Answer, task_id: str, previous: str) -> None:
    """The documented answer, and no word beside it that contradicts."""
    assert answer.status == 200, answer
    body = answer.data
    assert {key: body[key] for key in ("task_id", "status", "previous_state")} == {
        "task_id": task_id,
        "status": "cancelled",
        "previous_state": previous,
    }
    assert MOMENT.fullmatch(body["cancelled_at"]), body
    assert body["message"]


# --- C6: cancel -------------------------------------------------------------------------------------------------------


def test_cancel_a_pending_task(curl: Curl, console: Console, paused: None) -> None:
    before = waiting(console)
    task_id = console.submit(ECHO, QUEUE, value=1)
    eventually(lambda: waiting(console), "it waits", until=lambda n: n == before + 1)
    was_cancelled(curl(CANCEL, task_id), task_id, "pending")
    assert waiting(console) == before, "its message was removed from its queue"
    assert until(console, task_id, "REVOKED")


def test_cancel_a_running_task_ends_its_process(curl: Curl, console: Console, fleet: Fleet) -> None:
    host = fleet.host(HOST)
    main = units.main_pid(host, units.worker(POOL))
    children = f"cat /proc/{main}/task/*/children"
    task_id = console.submit(SLEEP, QUEUE, seconds=300)
    until(console, task_id, "STARTED")
    before = set(host.check_output(children).split())
    answer = curl(CANCEL, task_id)
    was_cancelled(answer, task_id, "processing")
    assert answer.data["message"] == "Task was running and has been terminated"
    until(console, task_id, "REVOKED")
    eventually(
        lambda: before - set(host.check_output(children).split()),
        "the process that ran it is gone",
        patience=10,
    )
    node = f"{POOL}@{HOST}"
    eventually(
        lambda: [each["task_id"] for each in console.get(f"/api/v1/workers/{node}")["running"]],
        "the worker runs it no more",
        until=lambda ids: task_id not in ids,
    )


def test_cancel_a_task_that_waits_for_its_retry(curl: Curl, console: Console) -> None:
    task_id = console.submit(FAIL, QUEUE, how="transient", message="tried again later")
    until(console, task_id, "RETRY")
    was_cancelled(curl(CANCEL, task_id), task_id, "retry")
    assert until(console, task_id, "REVOKED")


def test_a_task_that_has_succeeded_cannot_be_cancelled(curl: Curl, console: Console) -> None:
    task_id = console.submit(ECHO, QUEUE, value=1)
    until(console, task_id, "SUCCESS")
    answer = curl(CANCEL, task_id)
    assert answer.status == 400
    assert answer.data["detail"] == "Task has already completed successfully and cannot be cancelled"


def test_a_task_that_has_failed_cannot_be_cancelled(curl: Curl, console: Console, dead: str) -> None:
    answer = curl(CANCEL, dead)
    assert answer.status == 400
    assert "failed" in answer.data["detail"]


def test_cancelled_twice(curl: Curl, console: Console, paused: None) -> None:
    task_id = console.submit(ECHO, QUEUE, value=1)
    was_cancelled(curl(CANCEL, task_id), task_id, "pending")
    until(console, task_id, "REVOKED")
    again = curl(CANCEL, task_id)
    assert (again.status, again.data["status"]) == (200, "cancelled")
    assert "already" in again.data["message"].lower()


def test_an_unknown_task_cannot_be_cancelled(curl: Curl) -> None:
    answer = curl(CANCEL, str(uuid.uuid4()))
    assert answer.status == 404
    assert answer.data["detail"]


def test_a_thread_cannot_be_ended_and_the_answer_says_so(curl: Curl, console: Console) -> None:
    task_id = console.submit(SLEEP, THREADS_QUEUE, seconds=4)
    until(console, task_id, "STARTED")
    answer = curl(CANCEL, task_id)
    assert answer.status == 409, answer
    assert "cannot end" in answer.data["detail"]


# --- C7, C8: figures and health ---------------------------------------------------------------------------------------


def settled(curl: Curl) -> dict[str, Any]:
    """The counts, when nothing of earlier tests is still to be counted."""

    def twice() -> list[dict[str, Any]]:
        first = curl(METRICS).data["metrics"]
        time.sleep(1.5)
        return [first, curl(METRICS).data["metrics"]]

    return eventually(twice, "the counts rest", until=lambda pair: pair[0] == pair[1])[0]


def test_metrics_count_what_was_done(curl: Curl, console: Console) -> None:
    before = settled(curl)
    good = [console.submit(ECHO, QUEUE, value=number) for number in range(3)]
    bad = console.submit(FAIL, QUEUE, message="counted")
    for task_id in (*good, bad):
        until(console, task_id, "SUCCESS", "FAILURE")
    ends = before["completed_tasks"] + before["failed_tasks"] + 4

    def counted(found: Answer) -> bool:
        """Workers write what they did twice a second."""
        metrics = found.data["metrics"]
        return metrics["completed_tasks"] + metrics["failed_tasks"] >= ends

    answer = eventually(lambda: curl(METRICS), "all are counted", until=counted)
    assert answer.status == 200
    body = answer.data
    assert set(body) >= {"metrics", "timestamp"}
    assert MOMENT.fullmatch(body["timestamp"])
    after = body["metrics"]
    assert after["total_tasks"] >= before["total_tasks"] + 4
    assert after["completed_tasks"] >= before["completed_tasks"] + 3
    assert after["failed_tasks"] == before["failed_tasks"] + 1
    assert {"retried_tasks", "cancelled_tasks", "currently_running"} <= set(after)
    share = 100 * after["completed_tasks"] / after["total_tasks"]
    assert after["success_rate"] == pytest.approx(share, abs=0.01)
    share = 100 * after["failed_tasks"] / after["total_tasks"]
    assert after["failure_rate"] == pytest.approx(share, abs=0.01)
    assert after["average_durations"][ECHO] >= 0


def test_health(curl: Curl) -> None:
    answer = curl(HEALTH)
    assert answer.status == 200
    body = answer.data
    assert body["status"] in ("healthy", "warning", "critical")
    assert set(body["metrics"]) >= {"total_tasks", "success_rate", "failure_rate"}
    assert bool(body["alerts"]) == (body["status"] != "healthy")
    for alert in body["alerts"]:
        assert set(alert) >= {"severity", "message", "metric", "value"}
    assert MOMENT.fullmatch(body["timestamp"])


# --- D2: dead letters -------------------------------------------------------------------------------------------------


def test_the_dead_letters(curl: Curl, dead: str) -> None:
    answer = curl(LETTERS)
    assert answer.status == 200
    (letter,) = (each for each in answer.data["failed_tasks"] if each["task_id"] == dead)
    assert (letter["name"], letter["queue"], letter["reason"]) == (FAIL, QUEUE, "failed")
    assert "for " in letter["error"]


def test_a_dead_letter_is_tried_again_once(curl: Curl, console: Console, dead: str) -> None:
    answer = curl(RETRY, dead)
    assert answer.status // 100 == 2, answer
    again = answer.data["new_task_id"]
    assert again != dead
    assert ended(console, again)["status"] == "FAILURE"
    second = curl(RETRY, dead)
    assert second.status == 409
    assert again in second.text, "it says what it was tried again as"


def test_a_dead_letter_is_deleted(curl: Curl, console: Console, dead: str) -> None:
    answer = curl(DELETE, dead)
    assert answer.status == 200
    assert answer.data["task_id"] == dead
    assert console.request("GET", f"/api/v1/dlq/failed-tasks/{dead}")[0] == 404
    assert curl(DELETE, dead).status == 404
    assert curl(RETRY, dead).status == 404


# --- D8: submit and look ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "task", "priority", "result"),
    [
        (CALCULATE, "taskapp.jobs.calculate", 9, {"number": 999, "factors": [3, 3, 3, 37]}),
        (PROCESS, "taskapp.jobs.process", 5, {"type": "str", "words": 1}),
    ],
    ids=["calculate", "process"],
)
def test_submit(
    command: str, task: str, priority: int, result: dict[str, Any], curl: Curl, console: Console
) -> None:
    answer = curl(command)
    assert answer.status == 202, answer
    body = answer.data
    assert (body["task"], body["status"], body["priority"]) == (task, "pending", priority)
    assert body["queue"] == "default"
    task_id = body["task_id"]
    until(console, task_id, "SUCCESS")
    shown = curl(STATUS, task_id)
    assert shown.status == 200
    assert shown.data["task_id"] == task_id
    assert shown.data["status"] == "SUCCESS"
    assert shown.data["retries"] == 0
    assert result.items() <= shown.data["result"]["result"].items()


def test_all_tasks(curl: Curl, console: Console) -> None:
    task_id = console.submit(ECHO, QUEUE, value="listed")
    until(console, task_id, "SUCCESS")
    answer = curl(REFERENCE["all tasks"])
    assert answer.status == 200
    listed = {each["task_id"]: each for each in answer.data["tasks"]}
    assert listed[task_id]["name"] == ECHO


def test_workers(curl: Curl, fleet: Fleet) -> None:
    """All that the inventory names, alive."""
    expected = {f"{pool}@{host}" for host in fleet.groups["workers"] for pool in fleet.pools(host)}
    answer = curl(REFERENCE["workers"])
    assert answer.status == 200
    assert expected <= {each["node"] for each in answer.data["workers"] if each["state"] == "alive"}
    assert answer.data["active"] >= len(expected)


def test_health_of_the_console(curl: Curl, console: Console) -> None:
    answer = curl(REFERENCE["health"])
    assert answer.status == 200
    assert answer.data["status"]
    assert console.request("GET", "/health", key="")[0] == 200, "open for probes"


# --- D3: metrics ------------------------------------------------------------------------------------------------------


def test_the_ten_metrics(curl: Curl, dead: str) -> None:
    answer = curl(OWN_METRICS)
    assert answer.status == 200
    told = set(re.findall(r"^# TYPE (\S+) \S+$", answer.text, re.MULTILINE))
    missing = {name for name in NAMES if not {name, name.removesuffix("_total")} & told}
    assert not missing, "the ten metrics are there"
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    for name, labels in {
        "task_submissions_total": [f'type="{FAIL}"', 'priority="'],
        "task_completions_total": [f'type="{FAIL}"', 'status="'],
        "task_failures_total": [f'type="{FAIL}"', 'error="RuntimeError"'],
    }.items():
        found = [line for line in samples if line.startswith(f"{name}{{")]
        assert any(all(label in line for label in labels) for line in found), (name, labels, found)
    some = curl(SOME_METRICS)
    lines = some.text.splitlines()
    assert lines
    assert all("task_" in line for line in lines)


def test_prometheus_scrapes_the_console(curl: Curl, console: Console) -> None:
    def seen() -> list[str]:
        answer = curl(TARGETS)
        assert answer.data["status"] == "success"
        return [
            each["health"]
            for each in answer.data["data"]["activeTargets"]
            if each["labels"].get("job") == "console"
        ]

    assert eventually(seen, "its target is up", until=lambda health: "up" in health)
