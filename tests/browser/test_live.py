"""D5: what changes is seen without a reload, by the stream of events, and without it by asking."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenDesk
from consoles import Console

SOON = 5_000
"""Milliseconds within which a page shows what has changed."""


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "polling"])
def test_a_counter_changes_by_itself(
    streaming: bool, desk: OpenDesk, console: Console, work: dict[str, str]
) -> None:
    at_desk = desk()
    if not streaming:
        at_desk.allowed += ["ERR_FAILED", "events"]
        at_desk.page.route("**/api/v1/events*", lambda route: route.abort())
    at_desk.open("/ui")
    state = "streaming" if streaming else "polling"
    expect(at_desk.page.locator("body")).to_have_attribute("data-live-state", state, timeout=10_000)
    counter = at_desk.page.locator("nav [data-live='counts.dead']")
    before = console.get("/api/v1/dlq/failed-tasks")["total"]
    expect(counter).to_have_text(str(before) if before else re.compile(""))
    at_desk.page.evaluate("window.sameAsBefore = true")
    console.submit("taskapp.diagnostics.fail", "default", message="counted by eye")
    while console.get("/api/v1/dlq/failed-tasks")["total"] == before:
        time.sleep(0.05)
    expect(counter).to_have_text(str(before + 1), timeout=SOON)
    assert at_desk.page.evaluate("window.sameAsBefore"), "it was not reloaded"


def test_a_list_shows_a_new_task_by_itself(desk: OpenDesk, console: Console, work: dict[str, str]) -> None:
    at_desk = desk()
    at_desk.open("/ui/tasks")
    at_desk.page.evaluate("window.sameAsBefore = true")
    word = f"new-{uuid.uuid4().hex[:12]}"
    task_id = console.submit("taskapp.diagnostics.echo", "default", value=word)
    expect(at_desk.page.locator(f"main a[href*='{task_id}']").first).to_be_visible(timeout=SOON + 1000)
    assert at_desk.page.evaluate("window.sameAsBefore"), "it was not reloaded"


def test_a_task_is_followed_to_its_end(desk: OpenDesk, console: Console, work: dict[str, str]) -> None:
    at_desk = desk()
    task_id = console.submit("taskapp.diagnostics.sleep", "default", seconds=3)
    at_desk.open(f"/ui/tasks/{task_id}")
    expect(at_desk.page.locator("main", has_text="Succeeded").first).to_be_visible(timeout=3000 + SOON + 2000)


def test_the_charts_are_drawn(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = desk()
    at_desk.open("/ui")
    expect(at_desk.page.locator("[data-chart] canvas").first).to_be_visible()
    button = at_desk.page.locator("[data-chart-table]").first
    button.click()
    expect(at_desk.page.locator(".chart-table table").first).to_be_visible()
    assert not at_desk.violations()
