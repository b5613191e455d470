"""Every action of the pages, done by hand and looked up by the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from acceptance.waiting import eventually
from browser.conftest import OpenDesk
from consoles import Console

ECHO, SLEEP = "taskapp.diagnostics.echo", "taskapp.diagnostics.sleep"
QUEUE = "default"
Dead = Callable[[int], tuple[str, list[str]]]


@pytest.fixture
def as_before(console: Console, work: dict[str, str]) -> Iterator[None]:
    """Queues flow and workers work, whatever a test has done."""
    yield
    console.request("POST", f"/api/v1/queues/{QUEUE}/resume")
    console.request("POST", f"/api/v1/workers/{work['worker']}/undrain")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_pause_and_resume_a_queue(scripts: bool, desk: OpenDesk, console: Console, as_before: None) -> None:
    at_desk = desk(scripts=scripts)
    at_desk.open(f"/ui/queues/{QUEUE}")
    at_desk.press("Pause")
    at_desk.told(re.compile("paused", re.I))
    assert console.get(f"/api/v1/queues/{QUEUE}")["paused"]["by"]
    task_id = console.submit(ECHO, QUEUE, value="waits")
    at_desk.open(f"/ui/queues/{QUEUE}")
    expect(at_desk.page.locator("main", has_text=task_id[:8]).first).to_be_visible()
    at_desk.shot("queue-paused")
    assert console.state(task_id) in ("PENDING", "")
    at_desk.press("Resume")
    at_desk.told(re.compile("goes on", re.I))
    eventually(lambda: console.state(task_id), "it runs", until=lambda state: state == "SUCCESS")
    assert console.get(f"/api/v1/queues/{QUEUE}")["paused"] is None


def test_drain_and_undrain_a_worker(
    desk: OpenDesk, console: Console, work: dict[str, str], as_before: None
) -> None:
    at_desk, node = desk(), work["worker"]
    at_desk.open(f"/ui/workers/{node}")
    at_desk.press("Drain")
    at_desk.told(re.compile("drain", re.I))
    assert console.get(f"/api/v1/workers/{node}")["draining"]["by"]
    at_desk.shot("worker-draining")
    task_id = console.submit(ECHO, QUEUE, value="waits for a worker")
    at_desk.page.wait_for_timeout(700)
    assert console.state(task_id) in ("PENDING", "")
    at_desk.press("Undrain")
    at_desk.told(re.compile("undrain|again", re.I))
    eventually(lambda: console.state(task_id), "it runs", until=lambda state: state == "SUCCESS")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_cancel_a_waiting_task(scripts: bool, desk: OpenDesk, console: Console, as_before: None) -> None:
    at_desk = desk(scripts=scripts)
    console.post(f"/api/v1/queues/{QUEUE}/pause", {"reason": "a test"})
    task_id = console.submit(ECHO, QUEUE, value="never")
    at_desk.open(f"/ui/tasks/{task_id}")
    at_desk.press("Cancel")
    at_desk.told(re.compile("cancelled|removed", re.I))
    assert console.state(task_id) == "REVOKED"


def test_cancel_a_running_task(desk: OpenDesk, console: Console, as_before: None) -> None:
    at_desk = desk()
    task_id = console.submit(SLEEP, QUEUE, seconds=300)
    eventually(lambda: console.state(task_id), "it runs", until=lambda state: state == "STARTED")
    at_desk.open(f"/ui/tasks/{task_id}")
    at_desk.press("Cancel")
    at_desk.told(re.compile("terminated", re.I))
    eventually(lambda: console.state(task_id), "it is cancelled", until=lambda state: state == "REVOKED")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_retry_and_delete_a_dead_letter(scripts: bool, desk: OpenDesk, console: Console, dead: Dead) -> None:
    _, (letter,) = dead(1)
    at_desk = desk(scripts=scripts)
    at_desk.open(f"/ui/dead-letters/{letter}")
    at_desk.press("Retry")
    at_desk.told(re.compile("runs again", re.I))
    again = console.get(f"/api/v1/dlq/failed-tasks/{letter}")["retried_as"]
    assert again
    at_desk.open(f"/ui/dead-letters/{letter}")
    at_desk.press("Delete")
    at_desk.told(re.compile("delete", re.I))
    assert console.request("GET", f"/api/v1/dlq/failed-tasks/{letter}")[0] == 404


@pytest.mark.parametrize("action", ["Retry", "Delete"])
def test_many_dead_letters_with_a_preview(action: str, desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, letters = dead(4)
    at_desk = desk()
    at_desk.open(f"/ui/dead-letters?text={word}")
    at_desk.page.locator("main").get_by_role("link", name=re.compile(f"^{action} all")).or_(
        at_desk.page.locator("main").get_by_role("button", name=re.compile(f"^{action} all"))
    ).first.click()
    expect(at_desk.page).to_have_url(re.compile("/ui/dead-letters/preview"))
    expect(at_desk.page.locator("main", has_text="4").first).to_be_visible()
    at_desk.shot(f"dead-letters-preview-{action.lower()}")
    at_desk.click(at_desk.page.locator("main form[action$='/bulk'] button"))
    at_desk.told(re.compile("4 dead letters"))
    kept = [console.request("GET", f"/api/v1/dlq/failed-tasks/{each}") for each in letters]
    if action == "Retry":
        assert all(letter["retried_as"] for _, letter in kept)
    else:
        assert {status for status, _ in kept} == {404}


def test_only_what_is_ticked(desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, letters = dead(3)
    at_desk = desk()
    at_desk.open(f"/ui/dead-letters?text={word}")
    for letter in letters[:2]:
        at_desk.page.locator(f"main input[type=checkbox][value='{letter}']").check()
    at_desk.page.locator("main").get_by_role("button", name=re.compile("^Delete")).first.click()
    expect(at_desk.page).to_have_url(re.compile("/ui/dead-letters/preview"))
    at_desk.click(at_desk.page.locator("main form[action$='/bulk'] button"))
    at_desk.told(re.compile("2 dead letters"))
    assert [console.request("GET", f"/api/v1/dlq/failed-tasks/{each}")[0] for each in letters] == [
        404,
        404,
        200,
    ]


def test_run_a_schedule_now(desk: OpenDesk, console: Console, work: dict[str, str]) -> None:
    at_desk = desk()
    at_desk.open("/ui/schedules")
    at_desk.press("Run now", at_desk.row("check-active-applications"))
    at_desk.told(re.compile("was started, as"))
    text = at_desk.page.locator(".toasts [data-toast]").first.inner_text()
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)
    assert found
    eventually(lambda: console.state(found[0]), "it was sent", until=lambda state: state not in ("",))


def silences(console: Console) -> set[str]:
    """The ids of those that are not over."""
    return {each["id"] for each in console.get("/api/v1/alerts")["silences"] if each["state"] != "expired"}


def test_silence_and_expire(desk: OpenDesk, console: Console, work: dict[str, str]) -> None:
    found = console.get("/api/v1/alerts")
    # One that is configured and does not answer is a fault; tests/browser/local.py configures none.
    if "no Alertmanager is configured" in (found["reason"] or ""):
        pytest.skip("this fleet has no Alertmanager")
    assert found["available"], found["reason"]
    before, at_desk = silences(console), desk()
    at_desk.open("/ui/alerts")
    if any(not each["silenced_by"] for each in found["alerts"]):
        at_desk.page.locator("main article details summary").first.click()
        at_desk.press("Silence")
        at_desk.told(re.compile("silen", re.I))
    else:
        matcher = {"name": "alertname", "value": "NothingFires"}
        console.post("/api/v1/silences", {"matchers": [matcher], "comment": "a test"})
    (new,) = eventually(lambda: silences(console) - before, "it is silent")
    at_desk.open("/ui/alerts")
    at_desk.shot("alerts-silenced")
    at_desk.click(at_desk.page.locator(f"main form[action*='{new}'] button"))
    at_desk.told(re.compile("silen|expire|over", re.I))
    eventually(lambda: silences(console), "it is over", until=lambda ids: new not in ids)


def test_what_was_done_is_in_the_audit(desk: OpenDesk, console: Console, dead: Dead) -> None:
    _, (letter,) = dead(1)
    console.request("DELETE", f"/api/v1/dlq/failed-tasks/{letter}")
    at_desk = desk()
    at_desk.open("/ui/audit")
    row = at_desk.row(letter[:8])
    expect(row).to_contain_text("operator")
