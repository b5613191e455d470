"""Which requests to the console are in traces."""

import pytest

from celery_fleet.console.tracing import telemetry, untraced
from celery_fleet.service.environment import Environment


@pytest.mark.parametrize(
    "path", ["/health", "/api/v1/health", "/metrics", "/api/v1/events", "/static/css/a.css"]
)
def test_what_machines_ask_all_the_time_is_not(path: str) -> None:
    assert untraced({"type": "http", "path": path})


@pytest.mark.parametrize("path", ["/tasks", "/api/v1/tasks", "/ui/", "/dlq/failed-tasks/x/retry"])
def test_what_people_ask_is(path: str) -> None:
    assert not untraced({"type": "http", "path": path})


def test_none_is_where_traces_are_off() -> None:
    config = telemetry(Environment())
    assert config == {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
