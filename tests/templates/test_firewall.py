"""Who is let in, as the inventory says."""

from __future__ import annotations

from typing import Any

import pytest

from templates.rendering import evaluate, role_variables

ADDRESSES = {"redis1": "10.9.0.1", "monitor1": "10.9.0.4", "edge1": "10.9.0.5", "edge2": "10.9.0.6"}
GROUPS = {
    "redis": ["redis1"],
    "monitoring": ["monitor1"],
    "console": ["monitor1"],
    "flower": ["monitor1"],
    "edge": ["edge1", "edge2"],
}
ROLES = ("redis", "monitoring", "console", "flower", "edge", "logs", "tracing", "firewall")


def rules_of(host: str, hostvars: dict[str, Any] | None = None, **own: Any) -> dict[str, dict[str, Any]]:
    """By name; of hosts without TLS."""
    plan = {"address": ADDRESSES[host], "addresses": ADDRESSES, "hosts": GROUPS, "tls": False}
    variables = role_variables(*ROLES) | {
        "celery_plan": plan,
        "groups": GROUPS,
        "group_names": [group for group, members in GROUPS.items() if host in members],
        "hostvars": {name: {} for name in ADDRESSES} | (hostvars or {}),
        "inventory_hostname": host,
        **own,
    }
    return {rule["name"]: rule for rule in evaluate("__firewall_rules", variables) if rule["ports"]}


def test_what_is_on_loopback_needs_no_rule() -> None:
    assert rules_of("monitor1").keys() == {"ssh", "exporters"}


def test_an_edge_comes_to_what_it_passes_requests_to() -> None:
    listen = {
        "console_listen": ["127.0.0.1:8000", "10.9.0.4:8001"],
        "flower_address": "10.9.0.4",
        "monitoring_prometheus_address": "0.0.0.0",
        "monitoring_alertmanager_address": "10.9.0.4",
    }
    passing = {"edge1": {"edge_prometheus_port": 9443}, "edge2": {"edge_prometheus_port": 0}}
    rules = rules_of("monitor1", passing, firewall_operators=["198.51.100.7"], **listen)
    edges = ["10.9.0.5", "10.9.0.6"]
    assert (rules["console"]["ports"], rules["console"]["from"]) == (["8001"], [*edges, "10.9.0.4"])
    assert rules["Flower"]["from"] == edges
    assert rules["Prometheus"]["from"] == ["10.9.0.4", "10.9.0.5", "198.51.100.7"]
    assert rules["Alertmanager"]["from"] == ["10.9.0.4", "198.51.100.7"]


@pytest.mark.parametrize(
    ("address", "to"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "10.9.0.4"), ("fd00::4", "fd00::4")]
)
def test_the_figures_of_flower_are_kept_from_users_wherever_it_listens(address: str, to: str) -> None:
    variables = role_variables(*ROLES) | {
        "celery_plan": {"address": "10.9.0.4", "addresses": ADDRESSES},
        "group_names": ["flower"],
        "flower_address": address,
    }
    (rule,) = [each for each in evaluate("__firewall_local_rules", variables) if each["name"] == "Flower"]
    assert rule["to"][0] == to
