"""Every page: it shows what it is for, in light and dark, on a desk and on a phone, and to those who cannot see it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from browser.conftest import OpenDesk
from browser.desk import Desk
from consoles import Console

PAGES = {
    "overview": ("/ui", r".+"),
    "queues": ("/ui/queues", "Queues"),
    "queue": ("/ui/queues/default", "default"),
    "workers": ("/ui/workers", "Workers"),
    "worker": ("/ui/workers/{worker}", "{worker}"),
    "tasks": ("/ui/tasks", "Tasks"),
    "tasks-found": ("/ui/tasks?text=for the pages", "Tasks"),
    "tasks-none": ("/ui/tasks?text=nothing-has-this", "Tasks"),
    "task": ("/ui/tasks/{good}", "taskapp.diagnostics.echo"),
    "task-failed": ("/ui/tasks/{bad}", "taskapp.diagnostics.fail"),
    "dead-letters": ("/ui/dead-letters", "Dead letters"),
    "dead-letter": ("/ui/dead-letters/{bad}", "taskapp.diagnostics.fail"),
    "dead-letters-preview": ("/ui/dead-letters/preview?scope=all&action=retry&text=for the pages", ".+"),
    "schedules": ("/ui/schedules", "Schedules"),
    "metrics-fleet": ("/ui/metrics/fleet?range=15m", "Metrics"),
    "metrics-queues": ("/ui/metrics/queues?range=15m", "Metrics"),
    "metrics-workers": ("/ui/metrics/workers?range=15m", "Metrics"),
    "metrics-redis": ("/ui/metrics/redis?range=15m", "Metrics"),
    "metrics-hosts": ("/ui/metrics/hosts?range=15m", "Metrics"),
    "alerts": ("/ui/alerts", "Alerts"),
    "audit": ("/ui/audit", "Audit"),
}
"""Path, and what its heading has."""

UNKNOWN = {
    "task-unknown": "/ui/tasks/nobody-knows-it",
    "dead-letter-unknown": "/ui/dead-letters/nobody-knows-it",
    "queue-unknown": "/ui/queues/nobody-knows-it",
    "worker-unknown": "/ui/workers/nobody@knows",
    "page-unknown": "/ui/nothing-is-here",
}


def drawn(at_desk: Desk) -> None:
    """Its charts are."""
    if at_desk.page.locator("[data-panels]").count():
        expect(at_desk.page.locator("[data-panels][data-read]")).to_be_attached(timeout=30_000)
    at_desk.page.wait_for_timeout(400)


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str, desk: OpenDesk, work: dict[str, str]) -> None:
    path, heading = (text.format(**work) if "{" in text else text for text in PAGES[name])
    problems = []
    for scheme in ("light", "dark"):
        at_desk = desk(scheme=scheme)
        at_desk.open(path)
        expect(at_desk.page.get_by_role("heading", level=1)).to_have_text(
            re.compile(heading if heading == r".+" else re.escape(heading))
        )
        drawn(at_desk)
        rules = () if scheme == "light" else ("color-contrast", "link-in-text-block")  # what colours decide
        problems += [f"{scheme}: {each}" for each in at_desk.violations(*rules)]
        at_desk.shot(f"{name}-{scheme}")
        assert at_desk.overflow() <= 0
    on_phone = desk(width=375, height=740)
    on_phone.open(path)
    drawn(on_phone)
    on_phone.shot(f"{name}-phone")
    problems += [f"phone: {each}" for each in on_phone.violations("target-size", "color-contrast")]
    if (wider := on_phone.overflow()) > 0:
        problems.append(f"phone: {wider} pixels wider than the screen")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_there_is_said_in_words(name: str, desk: OpenDesk) -> None:
    at_desk = desk()
    at_desk.allowed.append("status of 404")
    at_desk.open(UNKNOWN[name])
    expect(at_desk.page.get_by_role("heading", level=1)).to_be_visible()
    assert "Traceback" not in at_desk.page.content()
    expect(at_desk.page.get_by_role("link", name="Tasks").first).to_be_visible()
    assert not at_desk.violations()
    at_desk.shot(name)


def test_the_login_page(desk: OpenDesk, console: Console) -> None:
    stranger = desk(role="")
    stranger.allowed.append("status of 401")
    stranger.open("/ui/tasks?state=failed")
    expect(stranger.page).to_have_url(re.compile("/ui/login"))
    assert not stranger.violations()
    stranger.shot("login-light")
    stranger.page.get_by_label("Key", exact=True).fill("not-a-key-of-anybody")
    stranger.page.get_by_role("button", name="Log in").click()
    expect(stranger.page.get_by_role("alert")).to_be_visible()
    assert not stranger.violations()
    stranger.page.get_by_label("Key", exact=True).fill(console.viewer)
    stranger.page.get_by_role("button", name="Log in").click()
    expect(stranger.page).to_have_url(re.compile(r"/ui/tasks\?state=failed"))


def test_who_logs_out_is_out(desk: OpenDesk, console: Console) -> None:
    person = desk(role="")
    person.log_in(console.operator)
    person.page.get_by_role("button", name="Log out").click()
    expect(person.page).to_have_url(re.compile("/ui/login"))
    person.open("/ui/queues")
    expect(person.page).to_have_url(re.compile("/ui/login"))


@pytest.mark.parametrize("path", ["/ui/queues", "/ui/workers", "/ui/dead-letters", "/ui/schedules"])
def test_a_viewer_may_look_and_not_act(path: str, desk: OpenDesk, work: dict[str, str]) -> None:
    viewer = desk(role="viewer")
    viewer.open(path)
    for button in viewer.page.locator("main form[method=post] button[type=submit]").all():
        expect(button).to_be_disabled()


def test_the_theme_is_switched_and_remembered(desk: OpenDesk) -> None:
    at_desk = desk(scheme="light")
    at_desk.open("/ui")
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = at_desk.page.evaluate(colour)
    switch = at_desk.page.locator("[data-theme-switch]")
    for _ in range(3):
        switch.click()
        if at_desk.page.locator("html").get_attribute("data-theme") == "dark":
            break
    dark = at_desk.page.evaluate(colour)
    assert dark != light
    at_desk.open("/ui/queues")
    assert at_desk.page.evaluate(colour) == dark


@pytest.mark.parametrize(
    "name", ["overview", "queues", "workers", "tasks", "dead-letters", "schedules", "metrics-queues", "audit"]
)
def test_without_scripts(name: str, desk: OpenDesk, work: dict[str, str]) -> None:
    plain = desk(scripts=False)
    plain.open(PAGES[name][0])
    expect(plain.page.get_by_role("heading", level=1)).to_be_visible()
    assert not plain.page.locator("[data-theme-switch]").is_visible(), "what needs a script is not shown"
