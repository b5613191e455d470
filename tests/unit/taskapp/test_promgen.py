import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from taskapp import promgen
from taskapp.app import app
from taskapp.errors import FatalError
from taskapp.promgen import Target, notify, send_to_server, write_rules, write_targets

GOOD = [
    {
        "targets": ["web1:9100", "10.0.0.2:9100", "[::1]:9100"],
        "labels": {"job": "node", "__scheme__": "https"},
    }
]
BAD = [
    [{"targets": ["web1"]}],
    [{"targets": ["web1:0"]}],
    [{"targets": ["web1:65536"]}],
    [{"targets": ["web1:9100\n"]}],
    [{"targets": ["http://web1:9100"]}],
    [{"targets": ["web1:9100"], "labels": {"not-a-label": "x"}}],
    [{"targets": ["web1:9100"], "labels": {"job": 1}}],
    [{"targets": ["web1:9100"], "lables": {}}],
    [{}],
    {"targets": ["web1:9100"]},
    "web1:9100",
]


@pytest.fixture
def targets(state_dir: Path) -> Path:
    return state_dir / "targets" / "node.json"


def test_targets_are_written_as_prometheus_reads_them(targets: Path) -> None:
    result = write_targets("monitor1", "node", GOOD)["result"]
    assert (result["path"], result["targets"], result["changed"], result["reloaded"]) == (
        str(targets),
        3,
        True,
        False,
    )
    assert json.loads(targets.read_text()) == GOOD
    assert targets.stat().st_mode & 0o777 == 0o644
    assert write_targets("monitor1", "node", GOOD)["result"]["changed"] is False


@pytest.mark.parametrize("groups", BAD)
def test_bad_targets_never_replace_good_ones(groups: Any, targets: Path) -> None:
    write_targets("monitor1", "node", GOOD)
    assert write_targets("monitor1", "node", groups)["status"] == "error"
    assert json.loads(targets.read_text()) == GOOD
    assert [path.name for path in targets.parent.iterdir()] == ["node.json"]


@pytest.mark.parametrize("job", ["../up", "a/b", "", ".hidden"])
def test_a_job_is_a_plain_file_name(job: str, targets: Path) -> None:
    assert write_targets("monitor1", job, GOOD)["status"] == "error"
    assert not targets.parent.exists()


@pytest.mark.parametrize("before", [None, [{"targets": ["old:1"], "labels": {}}]])
def test_a_refused_reload_brings_the_previous_file_back(
    before: Any, targets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        write_targets("monitor1", "node", before)
    monkeypatch.setenv("TASKAPP_PROMETHEUS_RELOAD_URL", "http://localhost:9/-/reload")
    monkeypatch.setattr(promgen, "reload_prometheus", lambda *_: (_ for _ in ()).throw(FatalError("refused")))
    assert write_targets("monitor1", "node", GOOD) == {"status": "error", "message": "refused"}
    assert (json.loads(targets.read_text()) if targets.exists() else None) == before


UP = {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "page"}}
RULES = [{"name": "node", "interval": "30s", "rules": [UP, {"record": "up:sum", "expr": "sum(up)"}]}]
BAD_RULES = [
    [{"name": "node", "rules": [{**UP, "expr": "up =="}]}],
    [{"name": "node", "rules": [{**UP, "expr": "no_such_function(up)"}]}],
    [{"name": "node", "rules": [{**UP, "record": "up:sum"}]}],
    [{"name": "node", "rules": [{"expr": "up"}]}],
    [{"name": "node", "rules": [{**UP, "for": "a while"}]}],
    [{"name": "node", "rules": [{**UP, "lables": {}}]}],
    [{"name": "node", "rules": []}, {"name": "node", "rules": []}],
    [{"rules": []}],
    "groups: []",
]


@pytest.fixture
def rules(state_dir: Path) -> Path:
    return state_dir / "rules" / "node.yml"


def test_rules_are_written_as_prometheus_reads_them(rules: Path) -> None:
    """P2"""
    result = write_rules("monitor1", "node", RULES)["result"]
    assert (result["path"], result["rules"], result["changed"]) == (str(rules), 2, True)
    assert json.loads(rules.read_text()) == {"groups": RULES}
    assert rules.stat().st_mode & 0o777 == 0o644
    assert write_rules("monitor1", "node", RULES)["result"]["changed"] is False


@pytest.mark.parametrize("groups", BAD_RULES)
def test_bad_rules_never_replace_good_ones(groups: Any, rules: Path) -> None:
    """P2"""
    write_rules("monitor1", "node", RULES)
    assert write_rules("monitor1", "node", groups)["status"] == "error"
    assert json.loads(rules.read_text()) == {"groups": RULES}
    assert [path.name for path in rules.parent.iterdir()] == ["node.yml"]


def test_rules_are_not_written_unchecked(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKAPP_PROMTOOL", "no-such-promtool")
    answer = write_rules("monitor1", "node", RULES)
    assert "no-such-promtool is not installed" in answer["message"]
    assert not rules.exists()


def test_rules_that_prometheus_refuses_are_taken_back(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rules("monitor1", "node", RULES)
    monkeypatch.setenv("TASKAPP_PROMETHEUS_RELOAD_URL", "http://localhost:9/-/reload")
    monkeypatch.setattr(promgen, "reload_prometheus", lambda *_: (_ for _ in ()).throw(FatalError("refused")))
    assert write_rules("monitor1", "node", [])["message"] == "refused"
    assert json.loads(rules.read_text()) == {"groups": RULES}


@given(st.from_regex(r"[a-z]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True), st.integers(-10, 70_000))
def test_a_target_is_a_host_and_a_port(host: str, port: int) -> None:
    def validate() -> str:
        return str(TypeAdapter(Target).validate_python(f"{host}:{port}"))

    if 1 <= port <= 65_535:
        assert validate() == f"{host}:{port}"
    else:
        with pytest.raises(ValidationError):
            validate()


def test_a_notification_needs_somewhere_to_go() -> None:
    assert "TASKAPP_WEBHOOK_URL" in notify({"alert": "x"})["message"]
    assert notify({"alert": "x"}, url="file:///etc/passwd")["status"] == "error"


def test_a_task_about_a_server_goes_to_the_queue_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr(app, "send_task", lambda name, kwargs, queue: sent.append((name, kwargs, queue)))
    send_to_server("monitor1", "promgen.tasks.write_targets", job="node", groups=GOOD)
    assert sent == [
        ("promgen.tasks.write_targets", {"server": "monitor1", "job": "node", "groups": GOOD}, "monitor1")
    ]
    with pytest.raises(ValueError, match="pattern"):
        send_to_server("no such/queue", "promgen.tasks.write_targets")
