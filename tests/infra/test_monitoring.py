"""Prometheus sees every host of the inventory, and nothing of it can be seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from testinfra.host import Host

from hosts import Fleet
from infra.http import addresses_of, get
from monitors import Prometheus, alertmanager_of, credentials, prometheus_of

PATIENCE = 45
"""Seconds for the first scrapes of a Prometheus that has just started."""


@pytest.fixture
def prometheus(fleet: Fleet) -> Prometheus:
    return prometheus_of(fleet)


def eventually(what: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while (value := what()) != expected and time.monotonic() < deadline:
        time.sleep(2)
    assert value == expected


def test_node_exporter(host: Host, variables: Mapping[str, Any]) -> None:
    service = host.service("prometheus-node-exporter")
    assert service.is_running
    assert service.is_enabled
    addresses = addresses_of(host, variables.get("monitoring_node_exporter_port", 9100))
    assert len(addresses) == 1
    assert not addresses & {"0.0.0.0", "*", "[::]"}


def test_only_what_the_groups_ask_for(host: Host, hostname: str, fleet: Fleet) -> None:
    for unit, group in (
        ("prometheus", "monitoring"),
        ("prometheus-alertmanager", "monitoring"),
        ("prometheus-blackbox-exporter", "monitoring"),
        ("celery-exporter", "monitoring"),
        ("prometheus-redis-exporter", "redis"),
    ):
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
def test_every_host_of_the_inventory_is_a_target_and_up(prometheus: Prometheus, fleet: Fleet) -> None:
    hosts = {
        name for group in ("redis", "workers", "beat", "monitoring") for name in fleet.groups.get(group, ())
    }
    eventually(lambda: prometheus.query('up{job="node"}'), dict.fromkeys(hosts, 1))
    eventually(lambda: prometheus.query('up{job="process"}'), dict.fromkeys(hosts, 1))
    eventually(lambda: prometheus.query('probe_success{job="ping"}'), dict.fromkeys(hosts, 1))
    eventually(lambda: prometheus.query('up{job="redis"}'), dict.fromkeys(fleet.groups["redis"], 1))
    eventually(lambda: prometheus.query('up{job="celery"}'), dict.fromkeys(fleet.groups["monitoring"], 1))
    eventually(
        lambda: [
            t["lastError"]
            for t in prometheus.get("targets?state=active")["activeTargets"]
            # What tasks of the app named is theirs.
            if t["health"] != "up" and t["scrapePool"] != "app"
        ],
        [],
    )


@pytest.mark.group("monitoring")
def test_metrics_of_hosts_and_redis_are_there(prometheus: Prometheus, fleet: Fleet) -> None:
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


@pytest.mark.group("monitoring")
def test_what_people_come_by_is_asked_for(prometheus: Prometheus, fleet: Fleet) -> None:
    wanted = {service for service in ("console", "flower") if fleet.groups.get(service)}
    wanted = wanted if fleet.groups.get("edge") else set()
    eventually(
        lambda: prometheus.query('probe_success{job="http"}', "service"), dict.fromkeys(sorted(wanted), 1)
    )


@pytest.mark.group("monitoring")
def test_every_worker_of_the_inventory_is_expected_and_up(prometheus: Prometheus, fleet: Fleet) -> None:
    wanted = dict.fromkeys(
        (f"{pool}@{host}" for host in fleet.groups["workers"] for pool in fleet.pools(host)), 1
    )
    eventually(lambda: prometheus.query("celery_worker_expected", "worker"), wanted)
    eventually(lambda: prometheus.query("celery_worker_up", "worker"), wanted)

    def told_apart() -> set[str]:
        processes = prometheus.samples('namedprocess_namegroup_num_procs{groupname=~"celery-worker@.+"} > 0')
        return {f"{labels['groupname'].partition('@')[2]}@{labels['instance']}" for labels, _ in processes}

    # Processes are looked at less often than workers.
    eventually(told_apart, set(wanted))


@pytest.mark.group("monitoring")
def test_the_figures_of_tasks_come_from_one_place(prometheus: Prometheus, fleet: Fleet) -> None:
    eventually(lambda: len(prometheus.samples("tasks_in_dlq_total")), 1)
    eventually(
        lambda: prometheus.query("celery_exporter_redis_up"), dict.fromkeys(fleet.groups["monitoring"], 1)
    )


@pytest.mark.group("monitoring")
def test_nobody_asks_without_a_password(host: Host, variables: Mapping[str, Any], fleet: Fleet) -> None:
    for api in (prometheus_of(fleet), alertmanager_of(fleet)):
        assert get(host, f"{api.url}/-/healthy")[0] == 401
    password = credentials(variables).partition(":")[2]
    for place in ("/etc/prometheus", "/etc/default", "/etc/systemd"):
        assert host.run(f"grep -rqs {password} {place}").rc == 1, "only a hash of it is on the host"
    assert (host.file("/etc/prometheus/web.yml").user, host.file("/etc/prometheus/web.yml").mode) == (
        "root",
        0o640,
    )
    # An operator on the host needs neither.
    host.run_expect([0], "amtool alert query --output=json")


@pytest.mark.group("monitoring")
def test_when_certificates_end_is_seen(host: Host, prometheus: Prometheus, hostname: str) -> None:
    """A certificate with ten days left, and a file that is none."""
    place = "/etc/celery-fleet/certificates"
    found = host.run(f"test -d {place}").rc == 0
    host.check_output(
        f"mkdir -p {place} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 10"
        f" -subj /CN=infra -keyout /dev/null -out {place}/infra.crt && echo no certificate > {place}/infra-bad.crt"
    )
    try:
        host.check_output("systemctl start celery-certificate-expiry.service")

        def days() -> dict[str, float]:
            left = prometheus.query(
                f'round((fleet_certificate_expiry_timestamp_seconds{{instance="{hostname}"}} - time()) / 86400)',
                "path",
            )
            return {path: value for path, value in left.items() if "infra" in path}

        eventually(days, {f"{place}/infra.crt": 10})
        errors = prometheus.query("fleet_certificate_error", "path")
        assert (errors[f"{place}/infra.crt"], errors[f"{place}/infra-bad.crt"]) == (0, 1)
    finally:
        host.check_output(f"rm -rf {place}/infra*.crt" if found else f"rm -rf {place}")
        host.check_output("systemctl start celery-certificate-expiry.service")
