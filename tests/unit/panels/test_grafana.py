"""The panels, and the files for Grafana that are made from them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from celery_fleet.panels import DASHBOARDS, dashboard
from celery_fleet.panels.__main__ import main
from celery_fleet.panels.grafana import UNITS as GRAFANA_UNITS
from celery_fleet.panels.grafana import generated, grafana
from celery_fleet.panels.model import (
    BAD,
    COLUMNS,
    COUNT,
    KINDS,
    TABLE,
    TONES,
    UNITS,
    WARN,
    Dashboard,
    Panel,
    Query,
    Section,
    Threshold,
)
from celery_fleet.panels.queries import safe, variables_in

FILES = Path(__file__).parents[3] / "deploy" / "grafana" / "dashboards"

each_dashboard = pytest.mark.parametrize("found", DASHBOARDS, ids=lambda each: each.name)
each_panel = pytest.mark.parametrize(
    ("of", "panel"),
    [(each, panel) for each in DASHBOARDS for panel in each.panels],
    ids=lambda value: value.id if isinstance(value, Panel) else value.name,
)


def test_there_are_the_dashboards() -> None:
    assert [each.name for each in DASHBOARDS] == ["fleet", "queues", "workers", "redis", "hosts"]
    assert dashboard("queues") is DASHBOARDS[1]
    assert dashboard("nobody") is None


@each_dashboard
def test_ids_are_unique_and_plain(found: Dashboard) -> None:
    ids = Counter(panel.id for panel in found.panels)
    assert max(ids.values()) == 1
    assert all(each.replace("-", "").isalnum() and each == each.lower() for each in ids)
    assert found.panel(found.panels[0].id) is found.panels[0]
    assert found.panel("nobody") is None


@each_panel
def test_a_panel_says_what_it_shows(of: Dashboard, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert panel.unit in UNITS
    assert panel.kind in KINDS
    assert 0 < panel.width <= COLUMNS
    assert not panel.empty_when_healthy.endswith(".")
    known = {variable.name for variable in of.variables}
    for query in panel.queries:
        assert variables_in(query.expr) <= known
        assert safe(query.expr), "a variable stands outside of a matcher's regular expression"
        assert query.tone in TONES
        assert query.legend
        assert "\n" not in query.expr
    if panel.kind == TABLE:
        assert panel.labels
        assert len({query.legend for query in panel.queries}) == len(panel.queries)


@each_dashboard
def test_every_variable_is_used(found: Dashboard) -> None:
    used = {name for panel in found.panels for query in panel.queries for name in variables_in(query.expr)}
    assert used == {variable.name for variable in found.variables}


def test_what_is_not_a_matcher_is_told() -> None:
    assert not safe("a + $queue")
    assert not safe('a{q="$queue"}')
    assert safe('a{q=~"x-$queue"}')


def test_the_files_are_those_that_the_panels_make() -> None:
    """`make dashboards` renews them."""
    assert {path.name: path.read_text() for path in FILES.glob("*.json")} == generated(DASHBOARDS)


def test_files_of_dashboards_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    main(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(each.name for each in DASHBOARDS)


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    across = one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
    return across and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"]


@each_dashboard
def test_grafana_can_show_it(found: Dashboard) -> None:
    made: dict[str, Any] = json.loads(json.dumps(grafana(found)))
    assert made["schemaVersion"] == 39
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    names = {variable["name"] for variable in made["templating"]["list"]}
    assert "datasource" in names
    places = [panel["gridPos"] for panel in made["panels"]]
    for number, place in enumerate(places):
        assert 0 <= place["x"] <= place["x"] + place["w"] <= COLUMNS
        assert not any(_overlap(place, other) for other in places[:number])
    for panel in made["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"] in GRAFANA_UNITS.values()
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert variables_in(target["expr"]) <= names
    (deploys,) = made["annotations"]["list"]
    assert "celery_deploy_timestamp_seconds" in deploys["expr"]


def test_uids_are_unique() -> None:
    assert len({grafana(each)["uid"] for each in DASHBOARDS}) == len(DASHBOARDS)


def _colours(*thresholds: Threshold, below: bool) -> list[tuple[float | None, str]]:
    panel = Panel("p", "P", "It.", COUNT, (Query("a", "a"),), thresholds=thresholds, below=below)
    made = grafana(Dashboard("d", "D", "It.", (Section("S", (panel,)),)))["panels"][1]
    return [(step["value"], step["color"]) for step in made["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_thresholds_colour_what_is_above_them_or_below() -> None:
    two = Threshold(5, WARN), Threshold(9, BAD)
    assert _colours(*two, below=False) == [(None, "text"), (5, "orange"), (9, "red")]
    turned = Threshold(9, WARN), Threshold(5, BAD)
    assert _colours(*turned, below=True) == [(None, "red"), (5, "orange"), (9, "text")]
