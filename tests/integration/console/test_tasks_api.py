"""Tasks over HTTP, with real workers: submitted, searched, looked up, cancelled, counted."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from celery_fleet.console.tasks import submit as submitting
from celery_fleet.store.index import TaskRecord
from integration.console.conftest import Desk, wait_status
from integration.support import Service, eventually

# Celery stores results by a command that redis-py calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Worker = Callable[..., Service]


def submit(client: httpx.Client, key: str = "", **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/api/v1/tasks", json=body, headers=headers)


def submitted(client: httpx.Client, **body: Any) -> str:
    answer = submit(client, **body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def cancel(client: httpx.Client, task_id: str, **query: Any) -> tuple[int, dict[str, Any]]:
    answer = client.delete(f"/api/v1/tasks/{task_id}", params=query)
    return answer.status_code, answer.json()


def depth(desk: Desk, queue: str = "celery") -> int:
    """Messages that wait."""
    return sum(int(desk.fleet.broker.llen(desk.fleet.keys.queue(queue, step))) for step in range(10))


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_task_from_its_submission_to_its_result(client: httpx.Client, desk: Desk, worker: Worker) -> None:
    worker()
    answer = client.post("/tasks", json={"type": "process", "data": "test", "priority": "high"})
    said = answer.json()
    assert answer.status_code == 202
    assert said["status"] == "pending"
    assert (said["type"], said["task"], said["queue"], said["priority"]) == (
        "process", "consoleapp.process", "celery", 9,
    )  # fmt: skip
    assert answer.headers["Location"] == said["links"]["task"] == f"/api/v1/tasks/{said['task_id']}"
    found = wait_status(client, said["task_id"], "SUCCESS")
    assert found["result"] == {"processed": "test"}
    assert (found["state"], found["error"], found["traceback"]) == ("completed", "", None)
    found = eventually(
        lambda: (known := client.get(f"/tasks/{said['task_id']}").json())["runtime"] is not None and known
    )
    assert found["priority"] == 9
    assert found["wait"] >= 0
    assert found["submitted_at"] <= found["started_at"] <= found["ended_at"]
    assert found["journal"] == f"journalctl TASK_ID={said['task_id']}"
    assert not found["actions"]["cancel"]["possible"]
    listed = client.get("/tasks", params={"text": "test", "state": "completed"}).json()["tasks"]
    assert [each["task_id"] for each in listed] == [said["task_id"]]
    assert desk.fleet.audit.list()[0].action == "task.submit"
    assert desk.fleet.audit.list()[0].actor == "ann"


def test_a_failure_has_its_error_traceback_and_dead_letter(client: httpx.Client, worker: Worker) -> None:
    worker()
    task_id = submitted(client, type="fail", args=["bad input"])
    wait_status(client, task_id, "FAILURE")
    found = eventually(
        lambda: (known := client.get(f"/api/v1/tasks/{task_id}").json())["dead_letter_id"] and known
    )
    assert found["error"].endswith("bad input")
    assert "ValueError" in found["traceback"]
    assert found["actions"]["retry"]["possible"]
    assert (found["result"], found["dead_letter_id"]) == (None, task_id)


def test_a_submission_is_checked_against_what_workers_know(client: httpx.Client, worker: Worker) -> None:
    worker()

    def errors(**body: Any) -> dict[str, str]:
        answer = submit(client, **body)
        assert answer.status_code == 422, answer.text
        return {each["field"]: each["message"] for each in answer.json()["errors"]}

    assert "did you mean calculate?" in errors(type="calculat", data=1)["type"]
    assert "data" in errors(type="calculate", data="nine")
    assert "args" in errors(type="add")
    assert "args" in errors(type="add", args=[1], kwargs={"z": 2})
    assert "consoleapp.process" not in str(errors(type="calculate", kwargs={"data": 1, "more": 2})["args"])
    assert "did you mean email?" in errors(type="add", args=[1], queue="emial")["queue"]
    assert "1 to 10" in errors(type="add", args=[1], priority=11)["priority"]
    assert "1 to 10" in errors(type="add", args=[1], priority="urgent")["priority"]
    assert "exclude" in str(errors(type="add", args=[1], eta="2030-01-01T00:00:00", countdown=3))
    assert "exclude" in str(errors(type="add", args=[1], data=1))
    assert "over" in errors(type="add", args=[1], expires="2020-01-01T00:00:00Z")["expires"]
    assert errors(type="add", args=[1], colour="red") == {"colour": "no such field"}
    both = errors(type="add", args=["x"], queue="nowhere")
    assert set(both) == {"args", "queue"}
    assert client.post("/tasks", content=b"{nonsense").status_code == 422
    assert submit(client, type="add", args=[1]).status_code == 202
    assert submit(client, type="other.process").status_code == 202
    # The app's own code routes it, which the console does not import.
    own = submit(client, type="forgetful").json()
    assert (own["queue"], own["priority"]) == ("email", 3)
    wait_status(client, own["task_id"], "SUCCESS")
    eventually(lambda: client.get(f"/tasks/{own['task_id']}").json()["worker"], what="the worker's word")
    assert client.get(f"/tasks/{own['task_id']}").json()["queue"] == "email"
    types = {each["type"]: each for each in client.get("/api/v1/tasks/types").json()["types"]}
    assert types["calculate"]["task"] == "consoleapp.calculate"
    assert (types["consoleapp.forgetful"]["queue"], types["consoleapp.forgetful"]["priority"]) == ("email", 3)
    assert types["consoleapp.add"]["doc"] == "Adds two numbers."
    assert [each["name"] for each in types["consoleapp.add"]["parameters"]] == ["x", "y"]


def test_before_any_worker_a_type_is_taken_and_another_word_is_not(client: httpx.Client) -> None:
    answer = submit(client, type="process", data=1)
    assert answer.status_code == 202
    assert "not checked" in answer.json()["notice"]
    refused = submit(client, type="consoleapp.add", args=[1])
    assert refused.status_code == 422
    assert "process" in refused.json()["detail"]


def test_what_waits_is_found_and_cancelled_without_any_worker(client: httpx.Client, desk: Desk) -> None:
    now = submitted(client, type="process", data="now", queue="email")
    later = submit(client, type="process", data="later", countdown=600).json()
    assert later["status"] == "scheduled"
    foreign = desk.fleet.app.send_task("elsewhere.run", ["abc"], queue="bulk", task_id="invoice/4711 a").id
    found = client.get("/api/v1/tasks", params={"state": "pending"}).json()["tasks"]
    assert {each["task_id"] for each in found} == {now, later["task_id"], foreign}
    assert (
        client.get("/tasks", params={"state": "pending", "queue": "bulk"}).json()["tasks"][0]["task_id"]
        == foreign
    )
    here = client.get(f"/api/v1/tasks/{now}").json()
    assert (here["state"], here["message"]["place"], here["message"]["queue"]) == (
        "pending",
        "waiting",
        "email",
    )
    assert here["priority"] == 3
    parked = client.get(f"/api/v1/tasks/{later['task_id']}").json()
    assert parked["message"]["place"] == "parked"
    assert client.get(f"/api/v1/tasks/{foreign}").json()["name"] == "elsewhere.run"
    for task_id in (now, later["task_id"], foreign):
        status, said = cancel(client, task_id)
        assert status == 200
        assert set(said) == {"task_id", "status", "message", "previous_state", "cancelled_at"}
        assert (said["status"], said["previous_state"]) == ("cancelled", "pending")
        assert said["message"] == "Task was waiting and has been removed from its queue"
        status, said = cancel(client, task_id)
        assert (status, said["message"]) == (200, "Task was already cancelled")
        assert client.get(f"/api/v1/tasks/{task_id}").json()["state"] == "cancelled"
    assert client.get("/tasks", params={"state": "pending"}).json()["tasks"] == []
    assert client.get("/tasks").json()["counts"]["cancelled"] == 3


def test_a_running_task_is_ended_and_its_process_is_gone(
    client: httpx.Client, desk: Desk, worker: Worker
) -> None:
    worker()
    task_id = submitted(client, type="nap", args=[30])
    found = wait_status(client, task_id, "STARTED")
    assert found["state"] == "processing"
    pid = int(eventually(lambda: desk.recorded)[0].split()[1])
    running = lambda: client.get("/api/v1/tasks/metrics").json()["metrics"]["currently_running"]  # noqa: E731
    eventually(lambda: running() == 1, what="the running task in the figures")
    status, said = cancel(client, task_id)
    assert (status, said["status"], said["previous_state"]) == (200, "cancelled", "processing")
    assert said["message"] == "Task was running and has been terminated"
    assert said["cancelled_at"].endswith("Z")
    eventually(lambda: not is_there(pid), what="the end of the process")
    wait_status(client, task_id, "REVOKED")
    assert "woke" not in desk.recorded
    done = submitted(client, type="add", args=[1, 2])
    wait_status(client, done, "SUCCESS")
    status, said = cancel(client, done)
    assert status == 400
    assert said["detail"] == "Task has already completed successfully and cannot be cancelled"
    failed = submitted(client, type="fail", args=["x"])
    wait_status(client, failed, "FAILURE")
    assert cancel(client, failed)[0] == 400
    assert cancel(client, "nobody-knows")[0] == 404
    cut_off = submitted(client, type="nap", args=[30])
    wait_status(client, cut_off, "STARTED")
    with desk.server.client() as redis:
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    # Whether the worker has connected again by now or hears of it later: the console's own connections are no error.
    assert cancel(client, cut_off)[0] in (200, 409)
    wait_status(client, cut_off, "REVOKED")
    retried = submitted(client, type="unsteady")
    wait_status(client, retried, "RETRY")
    status, said = cancel(client, retried)
    assert (status, said["previous_state"]) == (200, "retry")
    before = len(desk.recorded)
    time.sleep(1.5)  # it would have been tried again after one second
    assert len(desk.recorded) == before


def test_what_a_pool_of_threads_cannot_end_runs_on_and_the_answer_says_so(
    client: httpx.Client, desk: Desk, worker: Worker
) -> None:
    worker(pool="threads")
    task_id = submitted(client, type="nap", args=[3])
    wait_status(client, task_id, "STARTED")
    status, said = cancel(client, task_id)
    assert (status, said["code"], said["previous_state"]) == (409, "runs_on", "processing")
    assert "cannot end a task" in said["detail"]
    told = lambda: client.get(f"/api/v1/tasks/{task_id}").json()["actions"]["cancel"]["why_not"]  # noqa: E731
    eventually(lambda: "threads" in told(), what="the reason why it cannot be cancelled")
    eventually(lambda: "woke" in desk.recorded, what="the end of the nap")


def test_figures_and_health_say_what_happened(client: httpx.Client, worker: Worker) -> None:
    nothing = client.get("/tasks/metrics").json()
    assert nothing["metrics"]["success_rate"] == 0.0
    worker(concurrency=2)
    for number in range(7):
        submitted(client, type="add", args=[number])
    for _ in range(3):
        submitted(client, type="fail", args=["x"])
    figures = lambda: client.get("/api/v1/tasks/metrics").json()["metrics"]  # noqa: E731
    eventually(
        lambda: figures()["completed_tasks"] == 7 and figures()["failed_tasks"] == 3, what="the figures"
    )
    said = figures()
    assert (said["total_tasks"], said["success_rate"], said["failure_rate"]) == (10, 70.0, 30.0)
    assert (said["retried_tasks"], said["cancelled_tasks"]) == (0, 0)
    assert set(said["average_durations"]) == {"consoleapp.add"}
    health = client.get("/api/v1/tasks/health").json()
    assert set(health) == {"status", "metrics", "alerts", "timestamp"}
    assert health["status"] == "critical"
    assert health["metrics"] == {"total_tasks": 10, "success_rate": 70.0, "failure_rate": 30.0}
    assert health["alerts"][0] == {
        "severity": "critical", "message": "30 % of the tasks failed", "metric": "failure_rate", "value": 30.0,
    }  # fmt: skip


def test_the_same_key_submits_once_however_many_ask_at_once(client: httpx.Client, desk: Desk) -> None:
    def ask(_: int) -> httpx.Response:
        return submit(client, key="k1", type="process", data="once")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert [answer.json() for answer in answers] == [answers[0].json()] * 8
    assert depth(desk) == 1
    assert submit(client, key="k3", type="process", queue="nowhere").status_code == 422
    assert submit(client, key="k3", type="process", data="put right").status_code == 202
    other = submit(client, key="k1", type="process", data="else")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert submit(client, key="k2", type="process", data="once").headers.get("Idempotent-Replayed") is None


@pytest.mark.parametrize("published", [False, True])
def test_a_crash_while_submitting_neither_loses_the_task_nor_doubles_it(
    client: httpx.Client, desk: Desk, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    original = submitting.publish

    def crash(*call: Any) -> None:
        if published:
            original(*call)
        raise SystemError("the process is gone")

    monkeypatch.setattr(submitting, "publish", crash)
    monkeypatch.setattr("celery_fleet.console.tasks.idempotency._RELEASE", "return 0")  # it had no last word
    assert submit(client, key="k", type="process", data=1).status_code == 500
    monkeypatch.undo()
    monkeypatch.setattr("celery_fleet.console.tasks.idempotency._PATIENCE", 0.1)
    busy = submit(client, key="k", type="process", data=1)
    assert (busy.status_code, busy.json()["code"]) == (409, "in_progress")
    for lease in desk.fleet.state.scan_iter("fleet:idempotency:*:lease"):
        desk.fleet.state.delete(lease)  # its time is over
    answer = submit(client, key="k", type="process", data=1)
    assert answer.status_code == 202
    assert "Idempotent-Replayed" not in answer.headers
    assert depth(desk) == 1
    assert client.get(f"/tasks/{answer.json()['task_id']}").json()["state"] == "pending"


def test_pages_of_a_search_follow_each_other(client: httpx.Client, desk: Desk) -> None:
    desk.fleet.index.write(
        TaskRecord(f"t{number}", "SUCCESS", 1000.0 + number, name="a.b" if number % 2 else "c.d")
        for number in range(25)
    )
    seen, cursor = [], ""
    for _ in range(5):
        page = client.get("/tasks", params={"limit": 10, "name": "a.b", "cursor": cursor}).json()
        seen += [each["task_id"] for each in page["tasks"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [f"t{number}" for number in range(23, 0, -2)]
    assert client.get("/tasks", params={"cursor": "nonsense"}).json()["errors"][0]["field"] == "cursor"
    assert client.get("/tasks", params={"state": "lost"}).status_code == 422
    at = client.get("/tasks", params={"since": "1970-01-01T00:17:00Z", "until": 1022}).json()["tasks"]
    assert [each["task_id"] for each in at] == ["t22", "t21", "t20"]
