"""What panels show: lines, tables, and what is left out."""

import math

import pytest

from celery_fleet.console.dashboards import MOST_SERIES, checked, lines, most, table
from celery_fleet.console.errors import NotFound
from celery_fleet.console.pages.metrics import grouped
from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.model import COUNT, STAT, TABLE, Panel, Query

QUEUES = DASHBOARDS[1]


def test_a_line_has_a_place_for_every_moment() -> None:
    (made,) = lines(
        Query("x", "{{pool}} on {{host}}", "warn"),
        [({"pool": "cpu", "host": "w1"}, {10: 1.0, 30: 2.0})],
        [10, 20, 30],
    )
    assert (made.label, made.values, made.tone) == ("cpu on w1", [1.0, None, 2.0], "warn")


def test_what_is_no_number_is_no_value_and_a_line_of_none_is_left_out() -> None:
    found = [({"n": "a"}, {0: math.nan, 1: 5.0}), ({"n": "b"}, {0: math.inf}), ({"n": "c"}, {7: 1.0})]
    assert [(each.label, each.values) for each in lines(Query("x", "{{n}}"), found, [0, 1])] == [
        ("a", [None, 5.0])
    ]


def test_of_too_many_lines_the_largest_stay_and_levels() -> None:
    found = lines(Query("x", "{{n}}"), [({"n": f"{n:02}"}, {0: float(n)}) for n in range(40)], [0])
    level = lines(Query("y", "limit", level=True), [({}, {0: 0.0})], [0])
    kept = [each.label for each in most([*found, *level])]
    assert kept == [*(f"{n:02}" for n in range(41 - MOST_SERIES, 40)), "limit"]
    assert most(found[:3]) == found[:3]


def test_a_table_joins_the_values_of_the_same_labels() -> None:
    panel = Panel(
        "t",
        "T",
        "It.",
        COUNT,
        (Query("a", "A"), Query("b", "B")),
        TABLE,
        labels=(("q", "Queue"), ("h", "Host")),
    )
    rows = table(
        panel,
        [
            [({"q": "b", "h": "1", "other": "x"}, 2.0), ({"q": "a"}, 1.0)],
            [({"q": "b", "h": "1"}, math.nan), ({"q": "c"}, 3.0)],
        ],
    )
    assert rows == [["a", "", 1.0, None], ["b", "1", 2.0, None], ["c", "", None, 3.0]]


def test_only_what_prometheus_knows_can_be_chosen() -> None:
    known = {"queue": ["a", "b"]}
    assert checked(QUEUES, {"queue": ["b", "a", "b"], "worker": ["w"]}, lambda: known) == {
        "queue": ("a", "b")
    }
    with pytest.raises(NotFound):
        checked(QUEUES, {"queue": ["c"]}, lambda: known)


def test_who_chooses_nothing_does_not_ask_for_it() -> None:
    def asked() -> dict[str, list[str]]:
        raise AssertionError

    assert checked(QUEUES, {}, asked) == {"queue": ()}


def test_numbers_that_follow_one_another_stand_together() -> None:
    kinds = (STAT, STAT, TABLE, STAT)
    panels = [Panel(str(n), "T", "It.", COUNT, (), kind) for n, kind in enumerate(kinds)]
    assert [(kind, [each.id for each in some]) for kind, some in grouped(panels)] == [
        ("stats", ["0", "1"]),
        ("charts", ["2"]),
        ("stats", ["3"]),
    ]
