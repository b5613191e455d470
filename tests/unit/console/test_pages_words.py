"""Small decisions of the pages of dead letters, alerts and the audit."""

import json
from urllib.parse import urlsplit

import pytest

from celery_fleet.console.models.alerts import AlertInfo
from celery_fleet.console.models.dead_letters import BulkResult, DeadLetterFilter
from celery_fleet.console.pages.alerts import grouped, told
from celery_fleet.console.pages.audit import subject_page
from celery_fleet.console.pages.dead_letters import _inside, outcome
from celery_fleet.console.pages.letter_filters import read
from celery_fleet.console.pages.words import pretty, readable

TASK_ID = "7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55"


def alert(name: str, severity: str, *silenced_by: str) -> AlertInfo:
    return AlertInfo(
        fingerprint=name,
        name=name,
        severity=severity,
        state="suppressed" if silenced_by else "active",
        summary="",
        description="",
        impact="",
        command="",
        runbook_url=None,
        dashboard_url=None,
        labels={},
        annotations={},
        starts_at=0,
        silenced_by=list(silenced_by),
    )


def test_all_of_a_list_are_meant_when_none_is_ticked() -> None:
    wanted = read("queue=email&reason=poison&text=a+%26+b&scope=all")
    assert wanted.letters == DeadLetterFilter(queue="email", reason="poison", text="a & b")
    assert wanted.letters == wanted.list


def test_ticked_ones_alone_are_meant_and_the_way_back_keeps_the_filters() -> None:
    wanted = read(f"action=delete&queue=email&text=x+y&id={TASK_ID}&id=message-1&id={TASK_ID}")
    assert wanted.letters == DeadLetterFilter(ids=(TASK_ID, "message-1"))
    assert wanted.back == "/ui/dead-letters?queue=email&text=x+y"
    assert read(urlsplit(wanted.back).query).list == wanted.list


def test_a_reason_that_there_is_not_is_left_out() -> None:
    assert read("reason=odd").letters == DeadLetterFilter()


def test_what_was_done_with_many() -> None:
    done = BulkResult(action="retry", done=2, retried={"a": "b", "c": "d"}, refused={"e": "it is busy"})
    assert outcome(done) == "2 dead letters run again. 1 left alone, the first because it is busy."
    assert outcome(BulkResult(action="delete", done=1, retried={}, refused={})) == "1 dead letter deleted."


@pytest.mark.parametrize("back", ["/ui/dead-letters", "/ui/dead-letters?queue=a", "/ui/tasks/1"])
def test_forms_lead_back_to_pages(back: str) -> None:
    assert _inside(back) == back


@pytest.mark.parametrize("back", ["", "//elsewhere", "https://elsewhere/ui/tasks/", "/ui/tasks/\r\nX: y"])
def test_forms_lead_nowhere_else(back: str) -> None:
    assert _inside(back) == ""


def test_alerts_by_severity_and_the_silenced_ones_apart() -> None:
    found = grouped(
        [
            alert("a", "critical"),
            alert("p", "page"),
            alert("b", "critical", "s1"),
            alert("c", "warning"),
            alert("t", "ticket"),
            alert("w", "none"),
            alert("d", ""),
        ]
    )
    assert [(group.title, group.tone, [each.name for each in group.alerts]) for group in found] == [
        ("Critical", "bad", ["a"]),
        ("Somebody is needed now", "bad", ["p"]),
        ("Warning", "warn", ["c"]),
        ("To be looked at soon", "warn", ["t"]),
        ("For information", "idle", ["w"]),
        ("Other", "idle", ["d"]),
        ("Silenced", "apart", ["b"]),
    ]


def test_what_follows_a_command_is_not_copied_with_it() -> None:
    assert told("sudo fleet queues; sudo fleet workers  # on a host") == (
        "sudo fleet queues; sudo fleet workers",
        "on a host",
    )
    assert told("amtool alert # all") == ("amtool alert # all", "")


@pytest.mark.parametrize(
    ("action", "subject", "page"),
    [
        ("dlq.retry", TASK_ID, f"/ui/dead-letters/{TASK_ID}"),
        ("dlq.bulk_delete", "queue=email", ""),
        ("dlq.purge", "all", ""),
        ("queue.pause", "a/b", "/ui/queues/a%2Fb"),
        ("task.cancel", TASK_ID, f"/ui/tasks/{TASK_ID}"),
        ("schedule.run", "nightly", "/ui/schedules"),
        ("worker.drain", "default@worker1", "/ui/workers/default%40worker1"),
        ("worker.drain", "default", ""),
        ("other.thing", TASK_ID, ""),
    ],
)
def test_what_was_acted_on_has_its_page(action: str, subject: str, page: str) -> None:
    assert subject_page(action, subject) == page


def test_a_message_is_shown_with_its_body() -> None:
    assert readable('{"body": "[[1], {}, {}]"}') == '{"body": [[1], {}, {}]}'
    assert readable('{"body": "gAJ9cQE="}') == '{"body": "gAJ9cQE="}'
    assert readable("no JSON") == "no JSON"


def test_long_values_have_a_line_for_each_part_and_say_the_same() -> None:
    value = {"rows": list(range(60)), "names": ["x" * 60, "y, z" * 20], "deep": [{"a": "ä" * 99, "b": []}]}
    text = pretty(value)
    assert json.loads(text) == value
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) < 20


def test_the_deepest_value_can_be_shown() -> None:
    value: list[object] = ["x" * 200]
    for _ in range(800):
        value = [value]
    assert json.loads(pretty(value)) == value
