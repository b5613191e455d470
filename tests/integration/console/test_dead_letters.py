"""Dead letters by the console: each is retried once, however many ask, and nothing is done by a page that is stale."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest

from celery_fleet.store.deadletters import letter_of
from integration.console.conftest import Desk, wait_status

Bury = Callable[..., list[str]]
PATH = "/dlq/failed-tasks"


@pytest.fixture
def bury(desk: Desk) -> Bury:
    """bury(3, queue="email") returns the ids of new dead letters of the task `process`."""

    def bury(count: int, name: str = "consoleapp.process", queue: str = "celery", **known: Any) -> list[str]:
        fleet, made = desk.fleet, []
        for number in range(count):
            sent = fleet.app.send_task(name, [f"letter {number}"], queue="bulk", priority=5)
            message = cast(bytes, fleet.broker.rpop(fleet.keys.queue("bulk", 5)))
            known = {"reason": "failed", "exception": "ValueError", "error": "no", **known}
            assert fleet.letters.add(letter_of(message.decode(), queue=queue, **known))
            made.append(sent.id)
        return made

    return bury


def waiting(desk: Desk, queue: str = "celery") -> int:
    return sum(
        int(cast(int, desk.fleet.broker.llen(desk.fleet.keys.queue(queue, step)))) for step in range(10)
    )


def test_lists_filters_and_pages(client: httpx.Client, bury: Bury) -> None:
    old = bury(3)
    [email] = bury(1, queue="email", reason="exhausted", error="smtp is away")
    found = client.get(PATH).json()
    assert [each["task_id"] for each in found["failed_tasks"]] == [email, *reversed(old)]
    assert (found["count"], found["total"], found["next_offset"]) == (4, 4, None)
    assert found["counts"]["queue"] == {"celery": 3, "email": 1}
    letter = found["failed_tasks"][0]
    assert (letter["args"], letter["queue"], letter["priority"], letter["error"]) == (
        ["letter 0"],
        "email",
        5,
        "smtp is away",
    )
    page = client.get(PATH, params={"limit": 2, "offset": 1}).json()
    assert [each["task_id"] for each in page["failed_tasks"]] == [old[2], old[1]]
    assert page["next_offset"] == 3
    for asked in (
        {"queue": "email"},
        {"reason": "exhausted"},
        {"text": "SMTP"},
        {"name": "*.process", "text": "smtp"},
    ):
        found = client.get(f"/api/v1{PATH}", params=asked).json()
        assert [each["task_id"] for each in found["failed_tasks"]] == [email], asked
    assert client.get(PATH, params={"name": "console*"}).json()["total"] == 4
    wrong = client.get(PATH, params={"reason": "bad luck"})
    assert wrong.status_code == 422
    assert "worker_lost" in wrong.json()["detail"]


def test_shows_the_whole_letter(client: httpx.Client, bury: Bury) -> None:
    [task_id] = bury(1, traceback="Traceback ...", trace_id="abc")
    letter = client.get(f"{PATH}/{task_id}").json()
    assert (letter["traceback"], letter["trace_url"]) == ("Traceback ...", "http://traces.example/trace/abc")
    assert task_id in letter["message"]
    assert client.get(f"{PATH}/nobody").json()["code"] == "not_found"


def test_is_retried_once_however_many_ask(desk: Desk, client: httpx.Client, bury: Bury) -> None:
    [task_id] = bury(1)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post(f"{PATH}/{task_id}/retry"), range(8)))
    done = [answer for answer in answers if answer.status_code == 200]
    assert len(done) == 1
    new_id = done[0].json()["new_task_id"]
    assert done[0].json() | {"message": ""} == {
        "status": "retried",
        "task_id": task_id,
        "new_task_id": new_id,
        "message": "",
    }
    again = client.post(f"{PATH}/{task_id}/retry")
    assert (again.status_code, again.json()["code"], again.json()["new_task_id"]) == (409, "retried", new_id)
    assert waiting(desk) == 1
    [entry] = [each for each in desk.fleet.audit.list() if each.action == "dlq.retry"]
    assert (entry.actor, entry.subject, entry.details) == ("ann", task_id, {"retried_as": new_id})


def test_what_is_retried_runs(client: httpx.Client, bury: Bury, worker: Callable[..., Any]) -> None:
    [task_id] = bury(1)
    worker()
    new_id = client.post(f"{PATH}/{task_id}/retry").json()["new_task_id"]
    assert wait_status(client, new_id, "SUCCESS")["result"] == {"processed": "letter 0"}


def test_is_deleted_once(desk: Desk, client: httpx.Client, viewer: httpx.Client, bury: Bury) -> None:
    [task_id] = bury(1)
    assert viewer.delete(f"{PATH}/{task_id}").status_code == 403
    assert client.delete(f"{PATH}/{task_id}").json()["status"] == "deleted"
    again = client.delete(f"{PATH}/{task_id}")
    assert (again.status_code, again.json()["task_id"]) == (404, task_id)
    assert client.post(f"{PATH}/{task_id}/retry").status_code == 404
    assert [each.action for each in desk.fleet.audit.list()] == ["dlq.delete"]


def preview(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/dlq/preview", json=asked)
    assert answer.status_code == 200, answer.text
    return cast(dict[str, Any], answer.json())


def bulk(client: httpx.Client, action: str, token: str, **asked: Any) -> httpx.Response:
    return client.post("/api/v1/dlq/bulk", json={"action": action, "token": token, **asked})


def test_many_are_retried_as_they_were_seen(desk: Desk, client: httpx.Client, bury: Bury) -> None:
    ids = bury(3, queue="email")
    client.post(f"{PATH}/{ids[0]}/retry")
    seen = preview(client, queue="email")
    assert (seen["total"], seen["count"], seen["skipped"], seen["capped"]) == (3, 3, 1, False)
    assert len(seen["sample"]) == 3
    later = bury(1, queue="email")  # what comes meanwhile is left alone, and does not spoil the token
    done = bulk(client, "retry", seen["token"], queue="email")
    assert (done.status_code, done.json()["done"], done.json()["refused"]) == (200, 2, {})
    assert set(done.json()["retried"]) == {ids[1], ids[2]}
    assert waiting(desk, "email") == 3
    again = bulk(client, "retry", seen["token"], queue="email")
    assert (again.status_code, again.json()["code"]) == (409, "stale")
    assert (again.json()["count"], again.json()["skipped"]) == (4, 3)
    assert waiting(desk, "email") == 3
    letter = client.get(f"{PATH}/{later[0]}").json()
    assert letter["retried_as"] == ""
    entry = desk.fleet.audit.list()[0]
    assert (entry.action, entry.subject, entry.details["done"]) == ("dlq.bulk_retry", "queue=email", 2)


def test_many_are_deleted_by_their_ids(desk: Desk, client: httpx.Client, bury: Bury) -> None:
    ids = bury(4)
    seen = preview(client, ids=[*ids[:3], ids[0], "gone"])
    assert (seen["total"], seen["count"]) == (3, 3)
    client.delete(f"{PATH}/{ids[1]}")
    assert bulk(client, "delete", seen["token"], ids=[*ids[:3], "gone"]).status_code == 409
    assert desk.fleet.letters.count() == 3
    seen = preview(client, ids=ids[:3])
    assert bulk(client, "delete", seen["token"], ids=ids[:3]).json()["done"] == 2
    assert [each.task_id for each in desk.fleet.letters.list().letters] == [ids[3]]


def test_two_who_act_at_once_retry_once(desk: Desk, client: httpx.Client, bury: Bury) -> None:
    bury(20)
    token = preview(client)["token"]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: bulk(client, "retry", token), range(2)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert sum(answer.json()["done"] for answer in answers if answer.status_code == 200) == 20
    assert waiting(desk) == 20


def test_an_action_is_capped(client: httpx.Client, bury: Bury, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery_fleet.console.deadletters.CAP", 2)
    ids = bury(3)
    seen = preview(client)
    assert (seen["total"], seen["count"], seen["capped"]) == (3, 2, True)
    done = bulk(client, "retry", seen["token"]).json()
    assert set(done["retried"]) == set(ids[1:])


def test_what_is_no_token_is_refused(client: httpx.Client) -> None:
    answer = bulk(client, "retry", "1")
    assert (answer.status_code, answer.json()["code"]) == (409, "stale")
    answer = bulk(client, "retry", "token")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "token")
    assert bulk(client, "burn", "1-2").status_code == 422
    both = client.post("/api/v1/dlq/preview", json={"ids": ["a"], "queue": "email"})
    assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "ids")
