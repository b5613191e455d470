"""What the console makes of what it has read: metrics as text, late entries, silences, tokens of previews."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from celery_fleet.console.alerts import active, alert_info, shown_silences, silence_info
from celery_fleet.console.deadletters import token_of
from celery_fleet.console.models.alerts import AlertList
from celery_fleet.console.schedules import is_late
from celery_fleet.console.schedules import token_of as token_of_schedule
from celery_fleet.store.deadletters import DeadLetter
from celery_fleet.store.figures import NameFigures
from celery_fleet.store.schedules import ScheduleEntry
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.taskmetrics import Metric, as_text, by_type, of_types, pending

NOW = 1_000_000.0
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_labels_and_numbers_are_written_as_prometheus_reads_them() -> None:
    samples = [("_sum", {"type": 'a"\\\n'}, 0.1 + 0.2), ("_count", {}, 123456789012)]
    text = as_text([Metric("m", "histogram", "Help.", samples)])
    assert text.splitlines()[2:] == ['m_sum{type="a\\"\\\\\\n"} 0.3', "m_count 123456789012"]


def test_figures_of_a_type() -> None:
    buckets = ((0.5, 1), (float("inf"), 3))
    figures = NameFigures(
        succeeded=3, failed=1, received={"high": 4}, runtime=7.5, buckets=buckets, errors={"E": 1}
    )
    text = as_text(of_types({"process": figures}))
    for line in (
        'task_submissions_total{priority="high",type="process"} 4',
        'task_completions_total{type="process",status="revoked"} 0',
        'task_duration_seconds_bucket{type="process",le="0.5"} 1',
        'task_duration_seconds_bucket{type="process",le="+Inf"} 3',
        'task_duration_seconds_sum{type="process"} 7.5',
        'task_failures_total{type="process",error="E"} 1',
    ):
        assert line in text.splitlines()


def test_no_two_tasks_have_the_same_type() -> None:
    one, two = NameFigures(succeeded=1), NameFigures(succeeded=2)
    found = by_type({"app.run": one, "run": two}, {"run": "app.run", "go": "app.run"})
    assert found == {"go": one, "run": two}


def test_what_waits_by_the_words_of_priorities() -> None:
    metric = pending([Backlog("a", {10: 1, 8: 2, 5: 3}), Backlog("b", {5: 4, 1: 5})])
    assert {labels["priority"]: value for _, labels, value in metric.samples} == {
        "high": 3,
        "normal": 7,
        "low": 5,
    }


@pytest.mark.parametrize(
    ("following", "late"),
    [(NOW - 61, True), (NOW - 59, False), (NOW - 90_000, True), (None, False), (NOW + 5, False)],
)
def test_an_entry_is_late_after_a_minute(following: float | None, late: bool) -> None:
    assert is_late(ScheduleEntry("n", "t", "", None, (), {}, NOW - 100, following, 0), NOW) is late


def test_a_token_of_a_preview_stands_for_these_letters_as_they_are() -> None:
    letters = [DeadLetter("a", "t", "q", "failed"), DeadLetter("b", "t", "q", "failed")]
    token = token_of(letters, 12.5)
    assert token == token_of(list(letters), 12.5)
    assert token.startswith("12.500000-")
    for other in (letters[:1], letters[::-1], [replace(letters[0], retried_as="c"), letters[1]]):
        assert token_of(other, 12.5) != token


def test_a_token_of_a_schedule_changes_with_each_run() -> None:
    assert len({token_of_schedule("a", b""), token_of_schedule("b", b""), token_of_schedule("a", b"{}")}) == 3


def silence(number: int, state: str, ends: timedelta) -> dict[str, object]:
    return {
        **{"id": str(number), "status": {"state": state}, "createdBy": "ann", "comment": ""},
        **{"startsAt": TIME.isoformat(), "endsAt": (TIME + ends).isoformat()},
        "matchers": [
            {"name": "queue", "value": 'a"b', "isRegex": True, "isEqual": False},
            {"name": "x", "value": ""},
        ],
    }


def test_silences_that_hold_come_first_and_old_ones_are_left_out() -> None:
    hour = timedelta(hours=1)
    told = [
        silence(1, "expired", -30 * hour),
        silence(2, "expired", -2 * hour),
        silence(3, "active", 5 * hour),
        silence(4, "expired", -hour),
        silence(5, "pending", 2 * hour),
    ]
    found = shown_silences(map(silence_info, told), TIME)
    assert [each.id for each in found] == ["5", "3", "4", "2"]
    assert found[0].text == 'queue!~"a\\"b" x=""'


def test_an_alert() -> None:
    told = {
        **{"fingerprint": "f", "labels": {"alertname": "Late"}, "annotations": {"message": "It is late."}},
        **{
            "status": {"state": "suppressed", "silencedBy": ["s"]},
            "startsAt": "2026-01-01T00:00:00.123456789Z",
        },
    }
    found = alert_info(told)
    assert (found.name, found.severity, found.description, found.silenced_by) == (
        "Late",
        "",
        "It is late.",
        ["s"],
    )
    assert (found.starts_at.year, found.runbook_url) == (2026, None)
    assert alert_info({**told, "annotations": {"runbook_url": "https://x/y"}}).runbook_url == "https://x/y"
    assert active(AlertList(available=True, alerts=[found])) == 0
    firing = {**told, "status": {"state": "active", "silencedBy": []}}
    calm = {**firing, "labels": {"alertname": "Watchdog", "severity": "none"}}
    assert active(AlertList(available=True, alerts=[alert_info(firing), alert_info(calm)])) == 1
    assert active(AlertList(available=False)) is None
