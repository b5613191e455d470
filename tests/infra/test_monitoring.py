"""Prometheus sees every host of the inventory, and nothing of it can be seen from outside."""

from __future__ import annotations

import json
import shlex
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from testinfra.host import Host

PATIENCE = 45
"""Seconds for the first scrapes of a Prometheus that has just started."""

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


class Prometheus:
    """The HTTP API, asked from the host itself, because nobody else may reach it; not every host has curl."""

    def __init__(self, host: Host, variables: Mapping[str, Any]) -> None:
        address = variables.get("monitoring_prometheus_address", "127.0.0.1")
        self.host, self.url = (
            host,
            f"http://{address}:{variables.get('monitoring_prometheus_port', 9090)}/api/v1",
        )

    def get(self, path: str) -> Any:
        command = f"python3 -c {shlex.quote(FETCH)} {shlex.quote(f'{self.url}/{path}')}"
        return json.loads(self.host.check_output(command))["data"]

    def query(self, expression: str) -> dict[str, float]:
        """Values by the label `instance`."""
        result = self.get(f"query?query={urllib.parse.quote(expression)}")["result"]
        return {sample["metric"]["instance"]: float(sample["value"][1]) for sample in result}


@pytest.fixture
def prometheus(host: Host, variables: Mapping[str, Any]) -> Prometheus:
    return Prometheus(host, variables)


def eventually(what: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while (value := what()) != expected and time.monotonic() < deadline:
        time.sleep(2)
    assert value == expected


def addresses_of(host: Host, port: int) -> set[str]:
    lines = (line.split() for line in host.check_output("ss -H -ltn").splitlines())
    return {words[3].rsplit(":", 1)[0] for words in lines if words[3].endswith(f":{port}")}


def test_node_exporter(host: Host, variables: Mapping[str, Any]) -> None:
    service = host.service("prometheus-node-exporter")
    assert service.is_running
    assert service.is_enabled
    addresses = addresses_of(host, variables.get("monitoring_node_exporter_port", 9100))
    assert len(addresses) == 1
    assert not addresses & {"0.0.0.0", "*", "[::]"}


def test_only_what_the_groups_ask_for(host: Host, hostname: str, fleet: Any) -> None:
    for unit, group in (("prometheus", "monitoring"), ("prometheus-redis-exporter", "redis")):
        running = host.run(f"systemctl is-active {unit}").stdout.strip() == "active"
        assert running == (hostname in fleet.groups.get(group, ())), unit


@pytest.mark.group("redis")
def test_redis_exporter(host: Host, variables: Mapping[str, Any]) -> None:
    addresses = addresses_of(host, variables.get("monitoring_redis_exporter_port", 9121))
    assert len(addresses) == 1
    assert not addresses & {"0.0.0.0", "*", "[::]"}
    file = host.file("/etc/default/prometheus-redis-exporter")
    assert (file.user, file.mode) == ("root", 0o640)
    assert "REDIS_PASSWORD" not in host.check_output("systemctl show prometheus-redis-exporter")


@pytest.mark.group("monitoring")
def test_prometheus(host: Host, variables: Mapping[str, Any]) -> None:
    assert host.service("prometheus").is_running
    assert host.service("prometheus").is_enabled
    address = variables.get("monitoring_prometheus_address", "127.0.0.1")
    assert addresses_of(host, variables.get("monitoring_prometheus_port", 9090)) == {address}
    host.run_expect([0], "promtool check config /etc/prometheus/prometheus.yml")


@pytest.mark.group("monitoring")
def test_every_host_of_the_inventory_is_a_target_and_up(prometheus: Prometheus, fleet: Any) -> None:
    hosts = {
        name for group in ("redis", "workers", "beat", "monitoring") for name in fleet.groups.get(group, ())
    }
    eventually(lambda: prometheus.query('up{job="node"}'), dict.fromkeys(hosts, 1))
    eventually(lambda: prometheus.query('up{job="redis"}'), dict.fromkeys(fleet.groups["redis"], 1))
    eventually(
        lambda: [
            t["lastError"]
            for t in prometheus.get("targets?state=active")["activeTargets"]
            if t["health"] != "up"
        ],
        [],
    )


@pytest.mark.group("monitoring")
def test_metrics_of_hosts_and_redis_are_there(prometheus: Prometheus, fleet: Any) -> None:
    redis = dict.fromkeys(fleet.groups["redis"], 1)
    eventually(lambda: prometheus.query("redis_up"), redis)
    assert prometheus.query("redis_exporter_last_scrape_error") == dict.fromkeys(redis, 0)
    assert all(value > 0 for value in prometheus.query("redis_memory_max_bytes").values())
    nodes = prometheus.query('up{job="node"}')
    assert prometheus.query('node_memory_MemTotal_bytes{job="node"}').keys() == nodes.keys()
    # By its state of units, Prometheus knows what systemd had to start again.
    assert (
        prometheus.query('count by (instance) (node_systemd_unit_state{job="node",state="active"})').keys()
        == nodes.keys()
    )
    assert prometheus.query('node_scrape_collector_success{job="node",collector="systemd"}') == dict.fromkeys(
        nodes, 1
    )
