"""Chains and groups over HTTP, with a real worker."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from integration.console.conftest import Desk, wait_status
from integration.support import Service, eventually

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Worker = Callable[..., Service]


def post(client: httpx.Client, flow: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/api/v1/flows/{flow}", json=body, headers=headers)


def test_a_chain_hands_results_on_and_a_group_gathers_them(
    client: httpx.Client, desk: Desk, worker: Worker
) -> None:
    worker()
    said = post(
        client,
        "chain",
        tasks=[
            {"type": "add", "args": [2, 3]},
            {"type": "calculate", "priority": 8},
            {"type": "add", "kwargs": {"y": 5}, "queue": "email"},
            {"type": "process", "data": "alone", "immutable": True},
        ],
    )
    assert said.status_code == 202, said.text
    ids = [each["task_id"] for each in said.json()["tasks"]]
    assert [each["priority"] for each in said.json()["tasks"]] == [5, 8, 8, 8]
    results = [wait_status(client, each, "SUCCESS")["result"] for each in ids]
    assert results == [5, 25, 30, {"processed": "alone"}]
    second = eventually(
        lambda: (known := client.get(f"/tasks/{ids[1]}").json())["ended_at"] and known["worker"] and known
    )
    assert (second["parent_id"], second["root_id"], second["priority"]) == (ids[0], ids[0], 8)
    assert client.get(f"/tasks/{ids[0]}").json()["children"] == [ids[1]]
    assert client.get(f"/tasks/{ids[2]}").json()["queue"] == "email"

    said = post(
        client, "group", tasks=[{"type": "add", "args": [n]} for n in (1, 2, 3)], then={"type": "total"}
    )
    assert said.status_code == 202, said.text
    then = said.json()["then"]["task_id"]
    assert len(said.json()["tasks"]) == 3
    assert wait_status(client, then, "SUCCESS")["result"] == 9
    single = post(client, "group", tasks=[{"type": "add", "args": [1]}], then={"type": "total"}).json()
    assert wait_status(client, single["then"]["task_id"], "SUCCESS")["result"] == 2
    plain = post(client, "group", tasks=[{"type": "add", "args": [n]} for n in (1, 2)]).json()
    assert [wait_status(client, each["task_id"], "SUCCESS")["result"] for each in plain["tasks"]] == [2, 3]
    with desk.server.client() as redis:
        assert redis.pubsub_channels("celery-task-meta-*") == []  # nobody waits for these results
    assert [entry.action for entry in desk.fleet.audit.list(4)] == [
        "task.group", "task.group", "task.group", "task.chain",
    ]  # fmt: skip


def test_what_is_wrong_with_any_task_is_told_and_nothing_is_sent(
    client: httpx.Client, desk: Desk, worker: Worker
) -> None:
    worker()
    answer = post(
        client, "chain", tasks=[{"type": "add"}, {"type": "nothing"}, {"type": "total", "args": [1]}]
    )
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [
        "tasks.0.args",
        "tasks.1.type",
        "tasks.2.args",
    ]
    assert post(client, "chain", tasks=[{"type": "add", "args": [1]}]).status_code == 422
    assert desk.fleet.index.search().records == ()


def test_a_flow_is_submitted_once_and_its_later_tasks_wait(client: httpx.Client, desk: Desk) -> None:
    body = {"tasks": [{"type": "process", "data": 1}, {"type": "process"}]}
    first, second = (post(client, "chain", "k", **body) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    ids = [each["task_id"] for each in first.json()["tasks"]]
    waiting = client.get(f"/tasks/{ids[1]}").json()
    assert (waiting["state"], waiting["parent_id"], waiting["message"]) == ("pending", ids[0], None)
    assert ids[0] in waiting["result_note"]
    assert client.delete(f"/tasks/{ids[1]}").json()["previous_state"] == "pending"
