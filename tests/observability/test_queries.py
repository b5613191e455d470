"""Every query of every panel and every rule has data in the fleet's Prometheus, and no alert of a healthy fleet fires."""

from __future__ import annotations

from typing import Any

from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.queries import expressions
from hosts import Fleet
from monitors import prometheus_of


def test_every_query_of_every_panel_has_data(fleet: Fleet) -> None:
    prometheus = prometheus_of(fleet)
    empty = [
        f"{place}: {expr}"
        for place, expr, fault in expressions(DASHBOARDS)
        if not prometheus.samples(expr) and not fault
    ]
    assert empty == []


def test_every_rule_evaluates_and_no_alert_of_a_healthy_fleet_fires(fleet: Fleet) -> None:
    prometheus = prometheus_of(fleet)
    groups = prometheus.get("rules")["groups"]
    rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    assert rules
    recorded = [rule for rule in rules if rule["type"] == "recording"]
    assert [rule["name"] for rule in recorded if not prometheus.samples(rule["query"])] == []
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] == "err"} == {}
    firing = [
        rule["name"]
        for rule in rules
        if rule["type"] == "alerting" and rule["state"] == "firing" and rule["name"] != "Watchdog"
    ]
    assert firing == []
