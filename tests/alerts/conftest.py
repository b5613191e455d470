"""Faults of a whole fleet, and who is told of them: by the real Prometheus and Alertmanager, to a webhook on this machine.

They run against the hosts of ANSIBLE_INVENTORY, like tests/acceptance and with its fixtures. Alerts wait shorter here than by
default, and Prometheus looks more often, so that a test takes minutes; the conditions are those of the role.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acceptance.application import Application
from acceptance.conftest import app, fleet, playbooks, pytest_itemcollected, pytest_report_header
from acceptance.playbook import ALL, Playbooks
from acceptance.waiting import eventually
from alerts.faults import Stage
from alerts.sink import Sink, listening
from hosts import Fleet
from monitors import prometheus_of

__all__ = ["app", "fleet", "playbooks", "pytest_itemcollected", "pytest_report_header"]

ROLE = Path(__file__).resolve().parents[2] / "ansible" / "roles" / "monitoring"

SCRAPE = "5s"
SHORT = "10s"
"""In place of minutes for which a condition must hold."""

ALERTS = {
    # What explains others comes before them, as by default.
    "RedisDown": {"for": "0s"},
    "HostDown": {"for": "5s"},
    # The free space of a fleet that is just built, drawn on for a day, is always at its end.
    "DiskFillingUp": {"for": "1h"},
    # What is told of the past is told for as long as it is looked back: not for a quarter of an hour here.
    "UnitRestarting": {"window": "2m"},
    "TaskFailureRateHigh": {"for": SHORT, "window": "2m"},
    "DeadLettersGrowing": {"window": "2m"},
    # Tickets about a budget end when it has been earned back, in hours.
    "QueueLatencyBurn": {"ticket": False},
    "TaskErrorBudgetBurn": {"ticket": False},
    "TaskExecutionBurn": {"ticket": False},
    # Of half an hour
    "TaskStuck": {"for": SHORT, "limit": 0.02},
}
"""What a test of minutes needs besides."""

SLOS = {
    "reports": {"queueing": 10, "objectives": {"queueing": 90}},
    "default": {"objectives": {"errors": 97}},
}
"""Objectives that a hundred good tasks make up for."""

FORGET = (
    "systemctl stop prometheus prometheus-alertmanager"
    " && rm -rf /var/lib/prometheus/metrics2/* /var/lib/prometheus/alertmanager/*"
    " && systemctl start prometheus prometheus-alertmanager"
)


@pytest.fixture(scope="session")
def sink(fleet: Fleet, playbooks: Playbooks) -> Iterator[Sink]:
    """Where the fleet's Alertmanager tells. What went before is forgotten: tests that ran may have used up budgets."""
    (monitor,) = fleet.groups["monitoring"]
    host = fleet.host(monitor)
    host.check_output(FORGET)
    # What an alert misses from now on is missing, and not yet to come.
    eventually(lambda: asked(fleet), "Prometheus has asked the fleet's exporter")
    with listening(str(fleet.variables(monitor)["testbed_subnet"])) as sink:
        playbooks.run(
            "site.yml",
            "--tags=monitoring",
            overrides={ALL: monitoring(sink.url)},
        )
        yield sink
    playbooks.run("site.yml", "--tags=monitoring")
    if os.environ.get("ALERTS") == "all":  # what broke on purpose is no history of a fleet
        host.check_output(FORGET)


def asked(fleet: Fleet) -> bool:
    try:
        return bool(prometheus_of(fleet).samples("celery_exporter_redis_up"))
    except (AssertionError, TypeError):  # it has just been started, and answers nobody yet
        return False


def monitoring(url: str) -> dict[str, object]:
    """What differs from the inventory."""
    defaults = yaml.safe_load((ROLE / "files" / "alerts.yml").read_text())
    return {
        "monitoring_prometheus_scrape_interval": SCRAPE,
        "monitoring_alerts": {
            name: {"for": SHORT}
            for name, settings in defaults.items()
            if settings["for"] not in ("0s", SHORT)
        }
        | ALERTS,
        "monitoring_slos_by_queue": SLOS,
        "monitoring_receivers": {"test": {"webhook": [{"url": url}]}},
        "monitoring_routes": [
            {"receiver": "test", "group_wait": "1s", "group_interval": "5s", "repeat_interval": "1h"}
        ],
    }


@pytest.fixture(scope="session")
def stage(fleet: Fleet, app: Application) -> Stage:
    return Stage(fleet, app)
