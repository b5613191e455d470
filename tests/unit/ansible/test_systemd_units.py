"""The decisions of systemd_units; that systemd follows them is shown on real hosts in tests/acceptance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from unit.ansible.plugins import load

units = load("systemd_units")
STARTED = "Sun 2026-11-22 06:11:20.250000 UTC"
STARTED_AT = 1795327880.25


def wanted(**more: Any) -> dict[str, Any]:
    return {
        "name": "a.service",
        "state": "started",
        "restart": False,
        "restart_on": [],
        "reload_on": [],
        **more,
    }


def running(**more: str) -> dict[str, str]:
    return {
        "ActiveState": "active",
        "ExecMainStartTimestamp": STARTED,
        "StateChangeTimestamp": STARTED,
        **more,
    }


def file_written(path: Path, *, after: bool) -> str:
    path.write_text("")
    moment = STARTED_AT + (1 if after else -1)
    os.utime(path, (moment, moment))
    return str(path)


def test_reads_the_time_stamps_of_systemd() -> None:
    assert units.parse_time(STARTED) == STARTED_AT
    assert units.parse_time("Sun 2026-11-22 06:11:20 UTC") == STARTED_AT - 0.25
    assert units.parse_time("n/a") is None
    assert units.parse_time("") is None


def test_reads_several_units_and_repeated_properties() -> None:
    output = (
        "Id=a.service\nEnvironmentFiles=/etc/a (ignore_errors=no)\nEnvironmentFiles=/etc/b (ignore_errors=yes)\n"
        "FragmentPath=/etc/systemd/system/a.service\nDropInPaths=/x/1.conf /x/2.conf\n\nId=b.service\nMainPID=7\n"
    )
    shown = units.parse_show(output)
    assert shown["b.service"]["MainPID"] == "7"
    assert units.inputs(shown["a.service"]) == [
        "/etc/systemd/system/a.service", "/x/1.conf", "/x/2.conf", "/etc/a", "/etc/b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("want", "state", "action"),
    [
        ({}, "inactive", "start"),
        ({}, "failed", "start"),
        ({}, "active", None),
        ({"state": "stopped"}, "active", "stop"),
        ({"state": "stopped"}, "activating", "stop"),
        ({"state": "stopped"}, "inactive", None),
    ],
)
def test_brings_a_unit_to_its_state(want: dict[str, Any], state: str, action: str | None) -> None:
    assert units.decide(wanted(**want), running(ActiveState=state), []) == action


def test_restarts_what_started_before_its_files_were_written(tmp_path: Path) -> None:
    new, old = file_written(tmp_path / "new", after=True), file_written(tmp_path / "old", after=False)
    assert units.decide(wanted(restart_on=[old]), running(), []) is None
    assert units.decide(wanted(restart_on=[old, new]), running(), []) == "restart"
    assert units.decide(wanted(), running(DropInPaths=f"{old} {new}"), []) == "restart"
    assert units.decide(wanted(), running(EnvironmentFiles=f"{new} (ignore_errors=no)"), []) == "restart"
    assert units.decide(wanted(restart_on=[str(tmp_path / "absent")]), running(), []) is None


def test_a_switched_link_restarts_although_its_target_is_old(tmp_path: Path) -> None:
    file_written(tmp_path / "target", after=False)
    (tmp_path / "current").symlink_to("target")
    assert units.decide(wanted(restart_on=[str(tmp_path / "current")]), running(), []) == "restart"


def test_reloads_when_a_reload_is_enough(tmp_path: Path) -> None:
    new = file_written(tmp_path / "new", after=True)
    assert units.decide(wanted(reload_on=[new]), running(), []) == "reload"
    assert units.decide(wanted(reload_on=[new], restart_on=[new]), running(), []) == "restart"
    later = running(StateChangeTimestamp="Sun 2026-11-22 06:11:22.000000 UTC")
    assert units.decide(wanted(reload_on=[new]), later, []) is None, "it was reloaded since"


def test_a_unit_between_two_crashes_is_not_running() -> None:
    assert units.decide(wanted(), running(ActiveState="activating", SubState="auto-restart"), []) == "start"
    looping = running(ActiveState="activating", SubState="auto-restart")
    assert units.decide(wanted(state="stopped"), looping, []) == "stop"


def test_restarts_what_an_earlier_step_found_out_of_date() -> None:
    assert units.decide(wanted(restart=True), running(), []) == "restart"
    assert units.decide(wanted(restart=True), running(ActiveState="inactive"), []) == "start"


def test_never_restarts_a_slice_or_a_target(tmp_path: Path) -> None:
    new = file_written(tmp_path / "new", after=True)
    for name in ("a.slice", "a.target"):
        assert units.decide(wanted(name=name, restart_on=[new]), running(), []) is None


def test_check_mode_counts_the_files_that_would_have_been_written() -> None:
    drop_in = "/etc/systemd/system/a@x.service.d/50-pool.conf"
    assert units.decide(wanted(name="a@x.service"), running(), [drop_in]) == "restart"
    assert units.decide(wanted(name="a@y.service"), running(), [drop_in]) is None
    assert units.decide(wanted(restart_on=["/etc/a"]), running(), ["/etc/a"]) == "restart"
    assert units.decide(wanted(reload_on=["/etc/a"]), running(), ["/etc/a"]) == "reload"


def test_a_template_stands_for_its_instances() -> None:
    units_of = [wanted(name="a@.service", instances=["x", "y"]), wanted(name="b.target", instances=None)]
    assert [unit["name"] for unit in units.expand(units_of)] == ["a@x.service", "a@y.service", "b.target"]
    assert units.expand([wanted(name="a@.service", instances=[])]) == []


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param("", True, id="loaded before there was one"),
        pytest.param("/lib/systemd/system/a.service.d/debian.conf", True, id="another is known"),
        pytest.param("/etc/systemd/system/a.service.d/50-fleet.conf", False, id="known"),
        pytest.param(
            "/etc/systemd/system/a@1.service.d/50-fleet.conf", False, id="its own instead of its template's"
        ),
    ],
)
def test_a_drop_in_that_systemd_has_overlooked(tmp_path: Path, known: str, expected: bool) -> None:
    places = units.drop_in_places("a.service", str(tmp_path))
    Path(places[0]).mkdir()
    (Path(places[0]) / "50-fleet.conf").touch()
    assert units.overlooked(places, {"DropInPaths": known}) is expected


def test_places_of_drop_ins() -> None:
    assert units.drop_in_places("w@a.service", "/e") == ("/e/w@a.service.d/", "/e/w@.service.d/")
    assert not units.overlooked(units.drop_in_places("none.service", "/nowhere"), {})
