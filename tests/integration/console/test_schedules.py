"""The schedules of Beat by the console: what is told of them, and runs by hand."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest

from celery_fleet.store.schedules import BeatState, ScheduleEntry
from integration.console.conftest import VARIABLES, Desk
from integration.support import Services, eventually

PATH = "/api/v1/schedules"


@pytest.fixture
def variables() -> dict[str, Any]:
    nightly = {"task": "consoleapp.process", "schedule": "30 2 * * *", "args": [7], "queue": "email"}
    return {
        **VARIABLES,
        "celery_beat_schedule": {"nightly": nightly, "often": {"task": "x.y", "schedule": 60}},
    }


def entry(client: httpx.Client, name: str = "nightly") -> dict[str, Any]:
    found = client.get(PATH).json()["schedules"]
    return next(cast(dict[str, Any], each) for each in found if each["name"] == name)


def waiting(desk: Desk) -> int:
    lists = [desk.fleet.keys.queue("email", step) for step in range(10)]
    return sum(cast(int, desk.fleet.broker.llen(key)) for key in lists)


def test_what_beat_tells(
    desk: Desk, client: httpx.Client, services: Services, environment: dict[str, str]
) -> None:
    before = client.get(PATH).json()
    assert (before["beat"]["alive"], before["beat"]["host"], before["count"]) == (False, None, 2)
    assert entry(client)["schedule"] == "30 2 * * *"
    texts = [each["text"] for each in client.get("/api/v1/overview").json()["findings"]]
    assert any(text.startswith("Beat has never run") for text in texts)
    beat = services.start(["beat", "--schedule=schedule"], environment).wait_ready()
    found = eventually(lambda: client.get(PATH).json()["beat"]["alive"], what="a word of Beat")
    found = entry(client)
    assert (found["task"], found["queue"], found["args"], found["late"]) == (
        "consoleapp.process",
        "email",
        [7],
        False,
    )
    assert found["next_run"]
    beat.kill()


def test_what_is_late_and_who_is_dead(desk: Desk, client: httpx.Client) -> None:
    now = time.time()

    def told(name: str, last: float | None, following: float | None) -> ScheduleEntry:
        return ScheduleEntry(name, "x.y", "every 60 s", None, (), {}, last, following, 1)

    entries = (told("nightly", now - 90, now - 30), told("often", now - 300, now - 70))
    desk.fleet.schedules.write(BeatState(now - 60, "vm", 7, entries))
    found = client.get(PATH).json()
    assert not found["beat"]["alive"]
    assert [(each["name"], each["late"]) for each in found["schedules"]] == [
        ("nightly", False),
        ("often", True),
    ]
    assert client.get("/api/v1/overview").json()["counts"]["schedules_late"] == 1


def test_a_double_click_runs_once(desk: Desk, client: httpx.Client, viewer: httpx.Client) -> None:
    token = entry(client)["token"]
    assert viewer.post(f"{PATH}/nightly/run", json={"token": token}).status_code == 403
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda _: client.post(f"{PATH}/nightly/run", json={"token": token}), range(6))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert sorted(answer.json()["repeated"] for answer in answers) == [False, *[True] * 5]
    assert waiting(desk) == 1
    assert [each.action for each in desk.fleet.audit.list()] == ["schedule.run"]
    after = entry(client)
    assert (after["manual"]["by"], after["manual"]["task_id"]) == ("ann", answers[0].json()["task_id"])
    assert after["token"] != token
    assert not client.post(f"{PATH}/nightly/run", json={"token": after["token"]}).json()["repeated"]
    stale = client.post(f"{PATH}/nightly/run", json={"token": token})
    assert (stale.status_code, stale.json()["code"]) == (409, "stale")
    assert waiting(desk) == 2


def test_without_a_token(desk: Desk, client: httpx.Client) -> None:
    ids = {client.post(f"{PATH}/nightly/run").json()["task_id"] for _ in range(2)}
    assert len(ids) == 2
    kept = [
        client.post(f"{PATH}/nightly/run", headers={"Idempotency-Key": "deploy-7"}).json() for _ in range(2)
    ]
    assert kept[0]["task_id"] == kept[1]["task_id"]
    assert [each["repeated"] for each in kept] == [False, True]
    assert waiting(desk) == 3
    assert client.post(f"{PATH}/nobody/run").status_code == 404


def test_what_is_run_by_hand_runs(client: httpx.Client, desk: Desk, worker: Callable[..., Any]) -> None:
    worker()
    client.post(f"{PATH}/nightly/run")
    eventually(lambda: "process 7" in desk.recorded, what="the run")
