"""What the inventory says of alerts, targets and receivers: merged, or refused with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from unit.ansible.plugins import load

settings = load("monitoring_settings", "plugin_utils")
DEFAULTS = {
    "DiskFull": {"for": "2m", "ticket": 0.1, "page": 0.05},
    "QueueStuck": {"for": "2m", "severity": {"urgent": "page", "standard": "page", "bulk": "ticket"}, "age": 300},
}  # fmt: skip
QUEUES = {"email": {"urgency": "urgent"}, "celery": {}}
SLOS = {"urgent": {"queueing": 10, "execution": 10}, "standard": {"queueing": 60, "execution": None}}
OBJECTIVES = {"queueing": 99.9, "execution": 99.5, "errors": 99.5}


def test_settings_are_merged_key_by_key() -> None:
    own = {"DiskFull": {"page": None}, "QueueStuck": {"severity": {"urgent": "ticket"}}}
    found = settings.alert_settings(own, DEFAULTS)
    assert found["DiskFull"] == {"enabled": True, "for": "2m", "ticket": 0.1, "page": None}
    assert found["QueueStuck"]["severity"] == {"urgent": "ticket", "standard": "page", "bulk": "ticket"}
    assert settings.alert_settings({}, DEFAULTS)["DiskFull"]["page"] == 0.05


def test_one_value_stands_for_all_urgencies() -> None:
    found = settings.alert_settings({"QueueStuck": {"severity": "ticket"}}, DEFAULTS)
    assert found["QueueStuck"]["severity"] == dict.fromkeys(("urgent", "standard", "bulk"), "ticket")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "write {ALERT: {for: 5m}}"),
        ({"DiskFul": {}}, "did you mean DiskFull"),
        ({"DiskFull": {"pages": 1}}, "DiskFull has no such setting"),
        ({"DiskFull": {"for": "soon"}}, "is no duration"),
        ({"DiskFull": {"page": "much"}}, "is no number"),
        ({"DiskFull": {"enabled": "maybe"}}, "is neither true nor false"),
        ({"QueueStuck": {"severity": "loud"}}, "is no severity"),
        ({"QueueStuck": {"severity": {"urgnt": "page"}}}, "this is no urgency"),
    ],
)
def test_wrong_settings_are_refused(given: Any, text: str) -> None:
    with pytest.raises(settings.Refused) as refused:
        settings.alert_settings(given, DEFAULTS)
    assert text in str(refused.value)
    assert "monitoring_alerts" in str(refused.value)


def test_targets_follow_urgency_and_queue() -> None:
    by_queue = {"celery": {"execution": 600, "objectives": {"errors": 90}}}
    found = settings.queue_targets(QUEUES, SLOS, OBJECTIVES, by_queue)
    assert found["email"] == {"urgency": "urgent", "queueing": 10, "execution": 10, "objectives": OBJECTIVES}
    assert found["celery"] == {
        "urgency": "standard",
        "queueing": 60,
        "execution": 600,
        "objectives": {**OBJECTIVES, "errors": 90},
    }


@pytest.mark.parametrize(
    ("slos", "objectives", "by_queue", "text"),
    [
        ({"urgent": {"queueing": 7}}, OBJECTIVES, {}, "7 seconds cannot be told"),
        (SLOS, {**OBJECTIVES, "errors": 100}, {}, "is no percentage below 100"),
        (SLOS, OBJECTIVES, {"emial": {"queueing": 5}}, "email"),
    ],
)
def test_wrong_targets_are_refused(slos: Any, objectives: Any, by_queue: Any, text: str) -> None:
    with pytest.raises(settings.Refused) as refused:
        settings.queue_targets(QUEUES, slos, objectives, by_queue)
    assert text in str(refused.value)


def test_secrets_become_files() -> None:
    receivers = {
        "ops": {
            "email": [{"to": "ops@example.org", "auth_password": "hidden"}],
            "slack": [{"api_url": "https://hidden"}],
            "pagerduty": [{"routing_key": "hidden"}],
            "webhook": [{"url": "http://10.0.0.5"}],
        }
    }
    found = settings.alertmanager_settings(receivers, [], "/d")
    assert found["secrets"] == {
        "/d/ops-email-1.auth_password": "hidden",
        "/d/ops-slack-1.api_url": "https://hidden",
        "/d/ops-pagerduty-1.routing_key": "hidden",
    }
    assert "hidden" not in str(found["receivers"])
    (email,) = found["receivers"][1]["email_configs"]
    assert email["auth_password_file"] == "/d/ops-email-1.auth_password"
    assert email["send_resolved"] is True


def test_watchdog_goes_only_where_it_is_named() -> None:
    receivers = {"ops": {"webhook": [{"url": "http://a"}]}}
    always = {"receiver": "nobody", "matchers": ['severity="none"']}
    assert settings.alertmanager_settings(receivers, [], "/d")["routes"] == [always, {"receiver": "ops"}]
    named = [{"receiver": "ops"}, {"receiver": "ops", "match": {"alertname": "Watchdog"}}]
    routes = settings.alertmanager_settings(receivers, named, "/d")["routes"]
    assert routes == [{"receiver": "ops", "matchers": ['alertname="Watchdog"']}, always, {"receiver": "ops"}]


def test_a_list_matches_any() -> None:
    receivers = {"ops": {"webhook": [{"url": "http://a"}]}}
    routes = [{"receiver": "ops", "match": {"queue_name": ["email", "a.b"]}}]
    found = settings.alertmanager_settings(receivers, routes, "/d")["routes"][-1]
    assert found["matchers"] == [r'queue_name=~"email|a\\.b"']


@pytest.mark.parametrize(
    ("receivers", "routes", "text"),
    [
        ([], [], "is no mapping"),
        ({"ops": {}}, [], "it says no way to reach anybody"),
        ({"ops": {"emial": []}}, [], "did you mean email"),
        ({"ops": {"email": {}}}, [], "it is no list of mappings"),
        ({"nobody": {"email": []}}, [], "this cannot be a name"),
        ({}, [{"receiver": "ops"}], "there is no such receiver"),
        ({}, [{"match": {}}], "it names no receiver"),
        ({}, [{"receiver": "nobody", "mach": {}}], "a route has no such key"),
        ({}, [{"receiver": "nobody", "match": {"queue": "x"}}], "no alert has this label"),
        ({}, [{"receiver": "nobody", "repeat_interval": "often"}], "is no duration"),
    ],
)
def test_wrong_receivers_and_routes_are_refused(receivers: Any, routes: Any, text: str) -> None:
    with pytest.raises(settings.Refused) as refused:
        settings.alertmanager_settings(receivers, routes, "/d")
    assert text in str(refused.value)
