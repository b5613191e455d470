"""Two people at once, a stale page, a double click, a reload: what was done is not done again."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from browser.conftest import OpenDesk
from consoles import Console

Dead = Callable[[int], tuple[str, list[str]]]
FAIL = "taskapp.diagnostics.fail"


def runs_of(console: Console, word: str) -> int:
    """How many tasks there ever were with this word in their arguments."""
    return len(console.get(f"/api/v1/tasks?text={word}&limit=200")["tasks"])


def at_once(*pages: Page, form: str) -> None:
    """Sends the same form of several pages before any has its answer."""
    for page in pages:
        page.evaluate(
            "selector => { const form = document.querySelector(selector); form.removeAttribute('data-confirm'); "
            "setTimeout(() => form.submit(), 50) }",
            form,
        )
    for page in pages:
        page.wait_for_load_state("load")
        expect(page.locator("[data-toast]").first).to_be_visible()


def test_two_operators_retry_the_same_letter(desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, (letter,) = dead(1)
    ann, bob = desk(), desk()
    for each in (ann, bob):
        each.open(f"/ui/dead-letters/{letter}")
    at_once(ann.page, bob.page, form="main form[action$='/retry']")
    again = console.get(f"/api/v1/dlq/failed-tasks/{letter}")["retried_as"]
    assert again
    texts = [each.page.locator("[data-toast]").first.inner_text() for each in (ann, bob)]
    assert sum("runs again" in text.lower() for text in texts) == 1, texts
    ann.page.wait_for_timeout(1500)
    assert runs_of(console, word) == 2, "the first, and one retry"


def test_two_operators_retry_the_same_many(desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, letters = dead(3)
    ann, bob = desk(), desk()
    for each in (ann, bob):
        each.open(f"/ui/dead-letters/preview?scope=all&action=retry&text={word}")
    at_once(ann.page, bob.page, form="main form[action$='/bulk']")
    assert all(console.get(f"/api/v1/dlq/failed-tasks/{each}")["retried_as"] for each in letters)
    ann.page.wait_for_timeout(1500)
    assert runs_of(console, word) == 2 * len(letters)


def test_a_stale_preview_does_nothing(desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, letters = dead(3)
    at_desk = desk()
    at_desk.open(f"/ui/dead-letters/preview?scope=all&action=delete&text={word}")
    assert console.request("DELETE", f"/api/v1/dlq/failed-tasks/{letters[0]}")[0] == 200
    at_desk.click(at_desk.page.locator("main form[action$='/bulk'] button"))
    at_desk.told(re.compile("nothing was done|since you looked", re.I))
    assert console.get(f"/api/v1/dlq/failed-tasks?text={word}")["total"] == 2


def test_a_stale_page_of_a_letter_that_is_gone(desk: OpenDesk, console: Console, dead: Dead) -> None:
    _, (letter,) = dead(1)
    at_desk = desk()
    at_desk.open(f"/ui/dead-letters/{letter}")
    assert console.request("DELETE", f"/api/v1/dlq/failed-tasks/{letter}")[0] == 200
    at_desk.press("Retry")
    at_desk.told(re.compile("no such|there is no|not there", re.I))


def test_a_double_click_runs_a_schedule_once(desk: OpenDesk, console: Console, work: dict[str, str]) -> None:
    at_desk = desk()
    at_desk.open("/ui/schedules")
    name = "taskapp.applications.check_all_active"
    before = len(console.get(f"/api/v1/tasks?name={name}&limit=500")["tasks"])
    form = "main form[action*='check-active-applications']"
    at_desk.page.evaluate(
        "selector => { const form = document.querySelector(selector); form.removeAttribute('data-confirm');"
        " form.submit(); form.submit() }",
        form,
    )
    at_desk.told(re.compile("was started"))
    at_desk.page.wait_for_timeout(1500)
    assert len(console.get(f"/api/v1/tasks?name={name}&limit=500")["tasks"]) == before + 1


def test_the_same_form_sent_twice_runs_a_schedule_once(
    desk: OpenDesk, console: Console, work: dict[str, str]
) -> None:
    """Two tabs with the same page: the browser's own copy of it has the same token."""
    at_desk = desk()
    at_desk.open("/ui/schedules")
    name = "taskapp.applications.check_all_active"
    before = len(console.get(f"/api/v1/tasks?name={name}&limit=500")["tasks"])
    fields = at_desk.page.evaluate(
        "selector => Object.fromEntries(new FormData(document.querySelector(selector)))",
        "main form[action*='check-active-applications']",
    )
    action = at_desk.page.locator("main form[action*='check-active-applications']").get_attribute("action")
    assert action
    for _ in range(2):
        assert at_desk.context.request.post(action, form=fields).ok
    at_desk.page.wait_for_timeout(1500)
    assert len(console.get(f"/api/v1/tasks?name={name}&limit=500")["tasks"]) == before + 1


def test_a_reload_after_an_action_does_not_repeat_it(desk: OpenDesk, console: Console, dead: Dead) -> None:
    word, (letter,) = dead(1)
    at_desk = desk()
    at_desk.open(f"/ui/dead-letters/{letter}")
    at_desk.press("Retry")
    at_desk.told(re.compile("runs again", re.I))
    asked: list[str] = []
    at_desk.page.on("request", lambda request: asked.append(request.method))
    at_desk.page.reload()
    at_desk.page.wait_for_timeout(1500)
    assert set(asked) == {"GET"}
    assert runs_of(console, word) == 2
    assert at_desk.page.locator("[data-toast]").count() == 0, "it is told once"


def test_an_action_without_the_token_of_the_session_is_refused(
    desk: OpenDesk, console: Console, dead: Dead
) -> None:
    """Another site's form has the cookie at best, not the token."""
    _, (letter,) = dead(1)
    at_desk = desk()
    answer = at_desk.context.request.post(f"/ui/dead-letters/{letter}/delete", form={"csrf": "guessed"})
    assert answer.status == 403
    assert console.request("GET", f"/api/v1/dlq/failed-tasks/{letter}")[0] == 200
