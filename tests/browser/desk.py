"""One person at one browser: opens pages, presses buttons, and notes what should not be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Request, Response, expect

from consoles import Console

PATIENCE = 10_000
"""Milliseconds until a test fails for what a page does not show: far more than it takes."""

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@dataclass(frozen=True)
class Wants:
    """What the browser is like. `role` empty: nobody has logged in."""

    role: str = "operator"
    scheme: str = "light"
    width: int = 1280
    height: int = 900
    scripts: bool = True


class Desk:
    """A browser context with one page."""

    def __init__(self, browser: Browser, console: Console, wants: Wants, session: Any, shots: Path) -> None:
        self.console = console
        self.wants = wants
        self.allowed: list[str] = []
        """Parts of console errors that a test provokes."""
        self._shots = shots
        self._errors: list[str] = []
        self._foreign: list[str] = []
        self._broken: list[str] = []
        self.context = browser.new_context(
            base_url=console.url,
            color_scheme=wants.scheme,  # type: ignore[arg-type]
            viewport={"width": wants.width, "height": wants.height},
            java_script_enabled=wants.scripts,
            storage_state=session,
            reduced_motion="reduce",
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._errors.append(f"{error}\n{error.stack}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def log_in(self, key: str) -> None:
        """By the page, as people do."""
        self.page.goto("/ui/login")
        self.page.get_by_label("Key", exact=True).fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(re.compile(r"/ui(?!/login)"))

    def open(self, path: str) -> None:
        self.page.goto(path, wait_until="load")

    def press(self, name: str | re.Pattern[str], inside: Locator | None = None) -> None:
        """Presses a button, and says yes when it asks whether to."""
        exact = isinstance(name, str)
        self.click((inside or self.page.locator("main")).get_by_role("button", name=name, exact=exact).first)

    def click(self, button: Locator) -> None:
        asks = button.evaluate(
            "each => 'confirm' in each.dataset || 'confirm' in (each.form || each).dataset"
        )
        button.click()
        if asks and self.wants.scripts:
            self.page.locator("dialog#confirm [data-confirm-yes]").click()

    def row(self, text: str) -> Locator:
        """The row of a table that has this text."""
        return self.page.locator("main tr", has_text=text).first

    def told(self, text: str | re.Pattern[str]) -> None:
        """The page says, after an action, what became of it."""
        expect(self.page.locator(".toasts [data-toast]", has_text=text).first).to_be_visible(timeout=PATIENCE)

    def counter(self, name: str) -> Locator:
        """A live number of the page."""
        return self.page.locator(f"main [data-live='{name}']").first

    def violations(self, *rules: str) -> list[str]:
        """What axe-core finds, with the places; by these rules alone, if any is named."""
        chosen = {"runOnly": list(rules)} if rules else RULES
        found = Axe().run(self.page, options=chosen).response["violations"]
        return [
            f"{each['id']} ({each['help']}): {', '.join(str(node['target']) for node in each['nodes'][:4])}: "
            f"{each['nodes'][0].get('failureSummary', '')}"
            for each in found
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(width))

    def shot(self, name: str) -> None:
        """Keeps what the whole page looks like."""
        self._shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._shots / f"{name}.png", full_page=True)

    def complaints(self) -> list[str]:
        """Errors of the browser, and requests to anybody but the console."""
        errors = [each for each in self._errors if not any(part in each for part in self.allowed)]
        broken = [each for each in self._broken if not any(part in each for part in self.allowed)]
        return [*errors, *(f"asked elsewhere: {url}" for url in self._foreign), *broken]

    def close(self) -> None:
        self.context.close()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._errors.append(f"{message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob", "about") and url.netloc != urlsplit(self.console.url).netloc:
            self._foreign.append(request.url)

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self._broken.append(f"{response.status} {response.request.method} {response.url}")
