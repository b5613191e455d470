"""The filters of the page of tasks go into its query string and come back as they were."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from celery_fleet.console.pages.task_filters import TaskFilters

NOW = 1_795_352_700.0


def read(url: str) -> TaskFilters:
    return TaskFilters.read(dict(parse_qsl(urlsplit(url).query)))


@pytest.mark.parametrize(
    "filters",
    [
        TaskFilters(),
        TaskFilters(state="failed", name="app.mail.send", queue="email", worker="default@worker1"),
        TaskFilters(text="100 % = a&b #1 +ä 🚀"),
        TaskFilters(range="24h", text="x"),
        TaskFilters(since="2026-11-22T13:05", until="2026-11-22T14:05:09"),
    ],
)
def test_comes_back_as_it_was(filters: TaskFilters) -> None:
    assert read(filters.url()) == filters


def test_without_filters_the_address_is_bare() -> None:
    assert TaskFilters().url() == "/ui/tasks"


@pytest.mark.parametrize(
    ("said", "state"), [("Failed", "failed"), ("FAILURE", "failed"), ("odd", ""), ("", "")]
)
def test_state_as_people_or_celery_say_it(said: str, state: str) -> None:
    assert TaskFilters.read({"state": said, "text": "  a b "}) == TaskFilters(state=state, text="a b")


def test_what_is_no_time_is_left_out() -> None:
    assert (
        TaskFilters.read({"range": "2y", "since": "yesterday", "until": "2026-13-01T00:00"}) == TaskFilters()
    )


def test_a_quick_range_goes_before_times() -> None:
    filters = TaskFilters.read({"range": "1h", "since": "2026-11-22T13:05"})
    assert filters == TaskFilters(range="1h")
    assert filters.window(NOW) == (NOW - 3600, None)


def test_times_are_utc() -> None:
    assert TaskFilters(since="2026-11-22T13:05").window(0) == (NOW, None)
    assert TaskFilters(until="2026-11-22T13:05:01").window(0) == (None, NOW + 1)


def test_a_changed_filter_begins_at_the_newest() -> None:
    filters = TaskFilters(queue="email", cursor="abc")
    assert read(filters.url(state="retry")) == TaskFilters(queue="email", state="retry")
    assert read(filters.url(cursor="def")).cursor == "def"


def test_each_chip_takes_away_its_own_filter_alone() -> None:
    filters = TaskFilters(state="failed", text="a", queue="email", since="2026-11-22T13:05")
    chips = {chip.label: chip for chip in filters.chips()}
    assert list(chips) == ["text", "queue", "from"]
    assert chips["from"].value == "2026-11-22 13:05 UTC"
    assert read(chips["queue"].without) == TaskFilters(state="failed", text="a", since="2026-11-22T13:05")
    assert read(chips["from"].without) == TaskFilters(state="failed", text="a", queue="email")


def test_a_quick_range_takes_the_place_of_times() -> None:
    assert read(TaskFilters(since="2026-11-22T13:05", queue="q").of_range("7d")) == TaskFilters(
        queue="q", range="7d"
    )
