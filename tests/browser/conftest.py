"""The dashboard in a real browser: Debian's Chromium, driven by Playwright, against a console that runs.

    pytest tests/browser                         # the deployed fleet of ANSIBLE_INVENTORY, as tests/acceptance
    pytest tests/browser --local                 # a fleet of its own on this machine, see local.py
    CONSOLE_URL=http://127.0.0.1:8000 CONSOLE_KEY=... CONSOLE_VIEWER_KEY=... pytest tests/browser

The app of the fleet is the reference app. Screenshots are left in build/screenshots.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from acceptance.waiting import eventually
from browser.desk import Desk, Wants
from browser.local import Amounts, LocalFleet
from consoles import Console, deployed

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
CHROMIUM = "/usr/bin/chromium"

OpenDesk = Callable[..., Desk]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--local", action="store_true", help="tests/browser: start a fleet on this machine")


def pytest_report_header(config: pytest.Config) -> list[str]:
    if config.getoption("--local"):
        return ["console: of a fleet on this machine"]
    if url := os.environ.get("CONSOLE_URL"):
        return [f"console: {url}"]
    from hosts import header, read_fleet  # noqa: PLC0415 - it imports Ansible, which takes seconds

    return header(read_fleet())


def pytest_itemcollected(item: pytest.Item) -> None:
    """The driver of the browser and the services of a local fleet leave their pipes to the garbage collector."""
    for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"), append=False)


@pytest.fixture(scope="session")
def console(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The console under test."""
    if request.config.getoption("--local"):
        fleet = LocalFleet(tmp_path_factory.mktemp("fleet"), Amounts(2000, 200, 60, audits=60, workers=0))
        try:
            yield fleet.start()
        finally:
            fleet.stop()
    elif url := os.environ.get("CONSOLE_URL"):
        yield Console(url.rstrip("/"), os.environ["CONSOLE_KEY"], os.environ["CONSOLE_VIEWER_KEY"])
    else:
        from hosts import read_fleet  # noqa: PLC0415

        yield deployed(read_fleet())


@pytest.fixture(scope="session")
def work(console: Console) -> dict[str, str]:
    """Something to see on each page: the ids of a task that ended, one that failed, and the name of a worker."""
    worker = eventually(
        lambda: [each for each in console.get("/api/v1/workers")["workers"] if each["pool"] == "default"],
        "the worker of the pool `default` is there",
    )[0]
    good = console.submit("taskapp.diagnostics.echo", "default", value="seen")
    bad = console.submit("taskapp.diagnostics.fail", "default", message="for the pages")
    eventually(lambda: console.state(good), "a task ends", until=lambda state: state == "SUCCESS")
    eventually(lambda: console.state(bad), "a task fails", until=lambda state: state == "FAILURE")
    return {"good": good, "bad": bad, "worker": worker["node"]}


@pytest.fixture
def dead(console: Console) -> Callable[[int], tuple[str, list[str]]]:
    """dead(n) -> a text that n new dead letters have in common, and their ids."""

    def make(count: int) -> tuple[str, list[str]]:
        word = f"trouble-{time.time_ns()}"
        found = [console.submit("taskapp.diagnostics.fail", "default", message=word) for _ in range(count)]
        eventually(
            lambda: console.get(f"/api/v1/dlq/failed-tasks?text={word}")["total"],
            f"{count} tasks have failed",
            until=lambda total: total == count,
        )
        return word, found

    return make


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not shutil.which(CHROMIUM):
        pytest.fail("chromium is not installed: run `make setup`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def sessions(chromium: Browser, console: Console) -> dict[str, Any]:
    """The cookies of an operator and of a viewer who have logged in by the page."""
    found = {}
    for role in ("operator", "viewer"):
        desk = Desk(chromium, console, Wants(role=role), None, SHOTS)
        desk.log_in(getattr(console, role))
        found[role] = desk.context.storage_state()
        desk.close()
    return found


@pytest.fixture
def desk(chromium: Browser, console: Console, sessions: dict[str, Any]) -> Iterator[OpenDesk]:
    """desk(role="viewer", scheme="dark", width=375, ...) -> a browser of its own, whose user has logged in.

    At the end of the test none has seen an error, or asked anybody else for anything.
    """
    opened: list[Desk] = []

    def make(wants: Wants | None = None, **more: Any) -> Desk:
        chosen = replace(wants or Wants(), **more)
        made = Desk(chromium, console, chosen, sessions.get(chosen.role), SHOTS)
        opened.append(made)
        return made

    yield make
    complaints = [complaint for each in opened for complaint in each.complaints()]
    for each in opened:
        with suppress(Exception):
            each.close()
    assert not complaints
