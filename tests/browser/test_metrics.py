"""The pages of metrics: panels are drawn from Prometheus, can be chosen from, read as tables, and say when nothing is known."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route, expect

from browser.conftest import OpenDesk
from browser.desk import Desk

READ = 30_000
"""Milliseconds for all panels of a dashboard: far more than it takes."""


def opened(desk: OpenDesk, path: str, **wants: Any) -> Desk:
    """A page whose panels were all read once."""
    at_desk = desk(**wants)
    at_desk.open(path)
    expect(at_desk.page.locator("[data-panels][data-read]")).to_be_attached(timeout=READ)
    return at_desk


def card(page: Page, panel: str) -> Any:
    return page.locator(f"[data-panel='{panel}']")


def test_panels_are_drawn_and_can_be_read_as_tables(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = opened(desk, "/ui/metrics/queues?range=15m")
    length = card(at_desk.page, "length")
    expect(length.locator("canvas")).to_be_visible()
    expect(length.locator(".legend button", has_text="default").first).to_be_visible()
    expect(length.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Waiting by queue, latest: .*default")
    )
    length.get_by_role("button", name="Table of Waiting by queue").press("Enter")
    expect(length.locator(".chart-table table th", has_text="default").first).to_be_visible()
    expect(card(at_desk.page, "levels").get_by_role("row", name=re.compile("^default"))).to_be_visible()
    assert not at_desk.violations()


def test_a_line_is_hidden_by_its_name(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = opened(desk, "/ui/metrics/queues?range=15m")
    name = card(at_desk.page, "length").locator(".legend button").first
    expect(name).to_have_attribute("aria-pressed", "true")
    name.press("Space")
    expect(name).to_have_attribute("aria-pressed", "false")


def test_numbers_have_units(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = opened(desk, "/ui/metrics/fleet?range=15m")
    expect(card(at_desk.page, "waiting").locator("[data-figure]")).to_have_text(re.compile(r"^\d"))
    expect(card(at_desk.page, "oldest").locator("[data-figure]")).to_have_text(
        re.compile(r"\d\s?(ms|s|m|h|d)")
    )


def test_what_is_chosen_is_in_the_address_and_stays(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = opened(desk, "/ui/metrics/queues?range=15m")
    page = at_desk.page
    page.get_by_label("Queue", exact=True).select_option("default")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile("queue=default"))
    expect(page.locator("[data-panels][data-read]")).to_be_attached(timeout=READ)
    assert card(page, "length").locator(".legend button").all_inner_texts()[0].startswith("default")
    assert card(page, "length").locator(".legend button").count() == 1
    page.get_by_role("navigation", name="Time shown").get_by_role("link", name="6h").click()
    page.wait_for_url(re.compile("range=6h"))
    assert parse_qs(urlsplit(page.url).query)["queue"] == ["default"]
    expect(page.get_by_label("Queue", exact=True)).to_have_value("default")
    expect(page.get_by_role("link", name="6h")).to_have_attribute("aria-current", "true")


def test_an_empty_panel_says_what_fills_it(desk: OpenDesk, work: dict[str, str]) -> None:
    # A queue that no other test pauses
    at_desk = opened(desk, "/ui/metrics/queues?queue=cleanup&range=15m")
    expect(card(at_desk.page, "paused")).to_contain_text("Filled by: fleet pause QUEUE")


def test_a_prometheus_that_goes_away_is_told_and_the_lines_stay(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = desk()
    page = at_desk.page
    away = False

    def answer(route: Route) -> None:
        if not away:
            route.continue_()
            return
        told = route.fetch().json()
        gone = {
            **told,
            "available": False,
            "reason": "Prometheus has gone",
            "series": [],
            "rows": [],
            "at": [],
        }
        route.fulfill(status=200, content_type="application/json", body=json.dumps(gone))

    page.route("**/api/v1/dashboards/*/panels/*", answer)
    page.clock.install()
    at_desk.open("/ui/metrics/queues?range=15m")
    expect(page.locator("[data-panels][data-read]")).to_be_attached(timeout=READ)
    expect(page.locator("[data-trouble]")).to_be_hidden()
    away = True
    page.clock.fast_forward(20_000)
    expect(page.locator("[data-trouble]")).to_contain_text("What is shown may be old: Prometheus has gone")
    expect(card(page, "length").locator("canvas")).to_be_visible()
    assert not at_desk.violations()
    away = False
    page.clock.fast_forward(20_000)
    expect(page.locator("[data-trouble]")).to_be_hidden()


def test_the_lines_change_their_colours_with_the_theme(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = opened(desk, "/ui/metrics/queues?range=15m", scheme="light")
    page = at_desk.page
    before = page.locator("[data-panel='length'] canvas").evaluate("each => each.toDataURL()")
    page.locator("[data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.locator("[data-panel='length'] canvas").evaluate("each => each.toDataURL()") != before


def test_the_keys_lead_there(desk: OpenDesk) -> None:
    at_desk = desk()
    at_desk.open("/ui")
    at_desk.page.keyboard.press("g")
    at_desk.page.keyboard.press("m")
    at_desk.page.wait_for_url(re.compile("/ui/metrics/fleet"))
