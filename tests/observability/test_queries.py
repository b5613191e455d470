"""Every query of every panel and every rule has data in the fleet's Prometheus, and no alert of a healthy fleet fires."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from acceptance.application import Application
from acceptance.waiting import eventually
from alerts.faults import load
from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.queries import expressions
from hosts import Fleet
from monitors import prometheus_of

LOADED = 40.0
GROWN = 300.0
"""Seconds. What looks back for days is evaluated every two minutes, and wants two looks."""

NAME = re.compile(
    r"\b(?:celery|redis|node|probe|prometheus|alertmanager|fleet|queue:|worker:)[a-zA-Z0-9_:]+(?=[\[{ )]|$)"
)
"""Of a metric, in an expression."""

BY_FAULT = {
    "probe_ssl_earliest_cert_expiry": "what is probed by HTTPS",
    "celery_queue_paused": "a paused queue",
    "celery_visibility_timeout_seconds": "`celery_delivery: stock`",
    "fleet_certificate_error": "a certificate, see tests/alerts",
    "fleet_certificate_expiry_timestamp_seconds": "a certificate, see tests/alerts",
}
"""Metrics that alerts look at and a healthy fleet has not, and what brings them about."""


@pytest.fixture(scope="module", autouse=True)
def work(fleet: Fleet, app: Application) -> None:
    """Every queue has had tasks since Prometheus began to look, so that what grows has grown."""
    queues = [
        queue
        for host in fleet.groups["workers"]
        for pool in fleet.pools(host).values()
        for queue in pool["queues"]
    ]
    with load(app, queues):
        time.sleep(LOADED)


def test_every_query_of_every_panel_has_data(fleet: Fleet) -> None:
    wanted = list(expressions(DASHBOARDS))

    def empty() -> list[str]:
        found = prometheus_of(fleet).samples_of(expr for _, expr, _ in wanted)
        return [
            f"{place}: {expr}"
            for (place, expr, fault), samples in zip(wanted, found, strict=True)
            if not samples and not fault
        ]

    eventually(empty, "every query has data", GROWN, until=lambda left: not left)


def test_every_rule_evaluates_and_no_alert_of_a_healthy_fleet_fires(fleet: Fleet) -> None:
    prometheus = prometheus_of(fleet)
    groups = prometheus.get("rules")["groups"]
    rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    assert rules
    recorded = [rule for rule in rules if rule["type"] == "recording"]

    def empty() -> list[str]:
        found = prometheus.samples_of(rule["query"] for rule in recorded)
        return [rule["name"] for rule, samples in zip(recorded, found, strict=True) if not samples]

    eventually(empty, "every recording rule has data", GROWN, until=lambda left: not left)
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] == "err"} == {}
    firing = [
        rule["name"]
        for rule in rules
        if rule["type"] == "alerting" and rule["state"] == "firing" and rule["name"] != "Watchdog"
    ]
    assert firing == []


def test_alerts_look_at_what_there_is(fleet: Fleet) -> None:
    """An alert of a healthy fleet gives nothing; but each metric that it asks for is there."""
    prometheus = prometheus_of(fleet)
    groups = prometheus.get("rules?type=alert")["groups"]
    asked = {
        name: rule["name"]
        for group in groups
        for rule in group["rules"]
        for name in NAME.findall(rule["query"])
    }
    assert len(asked) > len(groups)

    def unknown() -> dict[str, str]:
        known = {*prometheus.get("label/__name__/values"), *BY_FAULT}
        return {name: alert for name, alert in asked.items() if name not in known}

    eventually(unknown, "every metric is there", GROWN, until=lambda left: not left)
