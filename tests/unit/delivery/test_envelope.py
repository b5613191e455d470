"""What is read from a message and written into it."""

from datetime import UTC, datetime

import pytest

from celery_fleet.delivery.envelope import bereaved, due, is_far, priority, redelivered, task_id

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"eta": at(60)}, NOW + 60),
        ({"eta": "2026-01-01T12:01:00"}, NOW + 60),  # UTC, as Celery has it
        ({"eta": None}, None),
        ({"eta": "soon"}, None),
        ({}, None),
        (None, None),
        ("?", None),
    ],
)
def test_due(headers, expected):
    assert due(headers) == expected


def test_what_is_due_soon_is_not_far():
    assert is_far({"eta": at(9)}, NOW) is None
    assert is_far({"eta": at(11)}, NOW) == NOW + 11


def test_only_what_could_have_run_counts_a_death():
    waiting, ready, again = {"headers": {"eta": at(5)}}, {"headers": {}}, {"headers": {"fleet_lost": 2}}
    assert (bereaved(waiting, NOW), bereaved(ready, NOW), bereaved(again, NOW)) == (0, 1, 3)
    assert "fleet_lost" not in waiting["headers"]
    assert again["headers"]["fleet_lost"] == 3
    assert bereaved({"headers": {"fleet_lost": "many"}}, NOW) == 1
    assert bereaved({"headers": None}, NOW) == 0


def test_redelivered_is_said_where_kombu_says_it():
    message = redelivered({"headers": {}, "properties": {"delivery_info": {}}})
    assert message == {
        "headers": {"redelivered": True},
        "properties": {"delivery_info": {"redelivered": True}},
    }
    assert redelivered({"headers": None, "properties": {}}) == {"headers": None, "properties": {}}


@pytest.mark.parametrize(
    ("given", "expected"), [(0, 0), (4, 3), (9, 9), (12, 9), (-1, 0), (None, 0), ("x", 0), ("6", 6)]
)
def test_the_list_is_that_of_kombu(given, expected):
    assert priority({"properties": {"priority": given}}, (0, 3, 6, 9)) == expected
    assert priority({}, (0, 3, 6, 9)) == 0


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"id": "a", "task": "t"}, "a"),
        ({"id": "a"}, ""),
        ({"task": "t"}, ""),
        ({"id": 7, "task": "t"}, ""),
        (None, ""),
    ],
)
def test_only_messages_of_tasks_have_an_id(headers, found):
    assert task_id(headers) == found
