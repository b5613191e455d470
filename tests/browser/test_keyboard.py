"""The dashboard without a mouse."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from browser.conftest import OpenDesk

FOCUSED = "document.activeElement"


def test_the_first_key_leads_to_the_content(desk: OpenDesk, work: dict[str, str]) -> None:
    page = desk().page
    page.goto("/ui/queues")
    page.keyboard.press("Tab")
    link = page.locator("a.skip")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_what_has_the_focus_is_seen(desk: OpenDesk, work: dict[str, str]) -> None:
    page = desk().page
    page.goto("/ui/tasks")
    unseen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        style = page.evaluate(
            f"(() => {{ const s = getComputedStyle({FOCUSED}); const box = {FOCUSED}.closest('.search'); "
            "return [s.outlineStyle, s.boxShadow, box ? getComputedStyle(box).boxShadow : 'none', "
            f"{FOCUSED}.outerHTML.slice(0, 120)] }})()"
        )
        if style[0] == "none" and style[1] == "none" and style[2] == "none":
            unseen.append(style[3])
    assert not unseen


def test_letters_lead_to_pages(desk: OpenDesk, work: dict[str, str]) -> None:
    page = desk().page
    page.goto("/ui")
    titles = page.locator("nav.nav a").evaluate_all("all => all.map(a => [a.getAttribute('href'), a.title])")
    assert len(titles) >= 7
    for href, title in titles:
        page.locator("body").press("g")
        page.keyboard.press(title.split()[-1])
        expect(page.locator("nav.nav a[aria-current=page]")).to_have_attribute("href", href)


def test_search_and_rows(desk: OpenDesk, work: dict[str, str]) -> None:
    page = desk().page
    page.goto("/ui/tasks")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox").first).to_be_focused()
    page.keyboard.type("g")
    expect(page).to_have_url(re.compile("/ui/tasks$"))
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/ui/tasks/.+"))


def test_the_keys_are_told(desk: OpenDesk, work: dict[str, str]) -> None:
    at_desk = desk()
    at_desk.open("/ui")
    at_desk.page.keyboard.press("?")
    expect(at_desk.page.locator("dialog#keys")).to_be_visible()
    assert not at_desk.violations()
    at_desk.page.keyboard.press("Escape")
    expect(at_desk.page.locator("dialog#keys")).to_be_hidden()
