"""Every alert fires when it should, is silent when it should, and ends: promtool runs it on the real rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from rules.cases import ALWAYS, CASES
from rules.rendering import ALERTS, FILES, alerting, files, promtool, rendered


@pytest.fixture(autouse=True)
def _promtool() -> None:
    if not shutil.which("promtool"):
        pytest.fail("promtool is not here: run scripts/setup, or apt-get install prometheus")


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    run = promtool(tmp_path, "check", "rules", *FILES)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_fleet_of_queues_that_may_all_be_late(tmp_path: Path) -> None:
    never = {urgency: {"queueing": None, "execution": None} for urgency in ("urgent", "standard", "bulk")}
    run = promtool(tmp_path, "check", "rules", *FILES, texts=rendered(monitoring_slos=never))
    assert run.returncode == 0, run.stdout + run.stderr


def test_alerts_fire_are_quiet_and_end(tmp_path: Path) -> None:
    tests = [name for name in files() if name.startswith("test-")]
    run = promtool(tmp_path, "test", "rules", *tests)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("SUCCESS") == len(tests)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_cases(name: str) -> None:
    mine = [case for case in CASES if case.alert == name]
    assert any(case.fires for case in mine), "no case in which it fires"
    if name not in ALWAYS:
        assert any(case.ends for case in mine), "no case in which it ends"
        assert any(not case.fires for case in mine), "no case in which it is quiet"


def test_every_case_is_of_an_alert() -> None:
    assert {case.alert for case in CASES} - {""} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_to_do(name: str) -> None:
    assert alerting(name), "it has no rule"
    for rule in alerting(name):
        assert rule["labels"]["severity"] in ("page", "ticket", "none")
        notes = rule["annotations"]
        assert {"summary", "impact", "command", "runbook_url"} <= notes.keys()
        assert notes["runbook_url"].endswith(f"docs/runbook.md#{name.lower()}")


def test_what_a_dead_redis_brings_about_depends_on_it() -> None:
    follows = {
        name for name in ALERTS if all(rule["labels"].get("depends") == "redis" for rule in alerting(name))
    }
    named = ("Queue", "Backlog", "Task", "Retry", "Unacked", "Dead", "Worker", "Ghost", "Beat")
    assert follows == {name for name in ALERTS if name.startswith(named)}


def test_no_alert_is_there_that_is_disabled(tmp_path: Path) -> None:
    own = {name: {"enabled": False} for name in ALERTS}
    texts = rendered(monitoring_alerts=own)
    for text in texts.values():
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] or ()]
        assert not [rule for rule in rules if "alert" in rule]
