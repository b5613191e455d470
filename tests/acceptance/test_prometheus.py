"""P1, P2: tasks about a server run on that server, and tell the Prometheus there what to watch and what to compute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

from acceptance.application import Application
from acceptance.waiting import eventually
from hosts import Fleet
from monitors import prometheus_of

pytestmark = pytest.mark.usefixtures("as_inventoried")

TARGETS, RULES = "promgen.tasks.write_targets", "promgen.tasks.write_rules"
NAME = "acceptance"


@pytest.fixture
def server(fleet: Fleet, app: Application) -> Iterator[str]:
    """The host of Prometheus; its name is that of its queue. What tests told Prometheus there is taken back."""
    (name,) = fleet.groups["monitoring"]
    yield name
    for task in (
        app.send(TARGETS, name, server=name, job=NAME, groups=[]),
        app.send(RULES, name, server=name, name=NAME, groups=[]),
    ):
        task.result()


@pytest.fixture
def host(fleet: Fleet, server: str) -> Host:
    return fleet.host(server)


@pytest.fixture
def prometheus(fleet: Fleet) -> Callable[[str], Any]:
    """What its API says."""
    return prometheus_of(fleet).get


def rules_of(prometheus: Callable[[str], Any]) -> list[str]:
    groups = prometheus("rules")["groups"]
    return [rule["query"] for group in groups if group["name"] == NAME for rule in group["rules"]]


def test_targets_and_rules_of_a_server_are_written_there_and_read(
    app: Application, server: str, host: Host, prometheus: Callable[[str], Any]
) -> None:
    groups = [{"targets": ["127.0.0.1:9090"], "labels": {"written_by": NAME}}]
    written = app.send(TARGETS, server, server=server, job=NAME, groups=groups).result()
    assert (written["host"], written["reloaded"]) == (server, True)
    rules = [{"name": NAME, "rules": [{"record": "acceptance:up", "expr": "sum(up)"}]}]
    written = app.send(RULES, server, server=server, name=NAME, groups=rules).result()
    assert (written["host"], written["rules"], written["reloaded"]) == (server, 1, True)
    assert host.file(written["path"]).user == "celery"

    assert rules_of(prometheus) == ["sum(up)"]
    eventually(
        lambda: [
            target["labels"].get("written_by")
            for target in prometheus("targets?state=active")["activeTargets"]
            if target["scrapePool"] == "app"
        ],
        "Prometheus watches the target",
        until=lambda labels: NAME in labels,
    )


def test_a_bad_rule_never_replaces_a_good_one(
    app: Application, server: str, host: Host, prometheus: Callable[[str], Any]
) -> None:
    good = [{"name": NAME, "rules": [{"record": "acceptance:up", "expr": "count(up)"}]}]
    path = app.send(RULES, server, server=server, name=NAME, groups=good).result()["path"]
    bad = [{"name": NAME, "rules": [{"record": "acceptance:up", "expr": "count(up"}]}]
    task = app.send(RULES, server, server=server, name=NAME, groups=bad)
    assert task.until("SUCCESS", "FAILURE") == "SUCCESS"
    assert (task.outcome["status"], "promtool refused" in task.outcome["message"]) == ("error", True)
    assert json.loads(host.file(path).content_string) == {"groups": good}
    assert rules_of(prometheus) == ["count(up)"]


def test_the_worker_may_write_there_and_nowhere_else_of_prometheus(server: str, host: Host) -> None:
    """Least privilege: neither as user celery nor out of the unit's sandbox."""
    for place in ("/etc/prometheus", "/var/lib/prometheus", "/var/lib/celery-fleet/prometheus"):
        assert host.run(f"runuser -u celery -- test -w {place}").rc == 1, place
    assert host.run("runuser -u celery -- test -w /var/lib/celery-fleet/prometheus/rules").rc == 0
    shown = host.check_output(
        f"systemctl show --property=ProtectSystem,ReadWritePaths celery-worker@{server}"
    )
    assert "ProtectSystem=strict" in shown
    assert (
        "ReadWritePaths=-/var/lib/celery-fleet/prometheus/targets -/var/lib/celery-fleet/prometheus/rules"
        in shown
    )
