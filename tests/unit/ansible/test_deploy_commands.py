"""deploy_commands: a release's programs, the fleet's environment, the app's user; the first failure ends it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest

from unit.ansible.plugins import run


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release whose only program tells its environment; and the fleet's environment beside it."""
    directory = tmp_path / "releases" / "shop-1"
    (directory / "bin").mkdir(parents=True)
    (directory / "release.env").write_text("CELERY_FLEET_RELEASE=shop-1\n")
    program = directory / "bin" / "shop-migrate"
    program.write_text('#!/bin/sh\necho "$CELERY_FLEET_RELEASE of $SHOP_NAME as $USER: $*"\n')
    program.chmod(0o755)
    (tmp_path / "fleet.env").write_text('SHOP_NAME="Tom\'s \\"shop\\""\n')
    return directory


def commands(release: Path, *lines: str, check: bool = False, **options: Any) -> dict[str, Any]:
    return run(
        "deploy_commands",
        check=check,
        release=str(release),
        commands=list(lines),
        user=getpass.getuser(),
        environment_file=str(release.parents[1] / "fleet.env"),
        **options,
    )


def test_commands_have_the_programs_and_the_environment_of_the_release(release: Path) -> None:
    answer = commands(release, "shop-migrate --all | cat", 'test -z "${RELEASE:-}"')
    assert answer["changed"]
    assert answer["results"][0]["output"] == f'shop-1 of Tom\'s "shop" as {getpass.getuser()}: --all\n'


def test_the_first_failure_ends_it_and_is_shown(release: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    answer = commands(
        release,
        f"echo one >> {marks}",
        f"echo the disk is full; false; echo two >> {marks}",
        f"echo three >> {marks}",
        otherwise="Nothing was switched.",
    )
    assert answer["failed"]
    for words in ("the disk is full", "ended with 1", "Nothing was switched."):
        assert words in answer["msg"]
    assert marks.read_text() == "one\n"


def test_a_command_that_hangs_is_killed_with_its_children(release: Path) -> None:
    answer = commands(release, "echo begun; sleep 60 | cat", timeout=1)
    assert answer["failed"]
    assert "took longer than 1 s and was killed\nbegun" in answer["msg"]


def test_a_check_runs_nothing(release: Path, tmp_path: Path) -> None:
    answer = commands(release, f"touch {tmp_path}/ran", check=True)
    assert (answer["changed"], answer["ran"], answer["commands"]) == (True, False, [f"touch {tmp_path}/ran"])
    assert not (tmp_path / "ran").exists()
    assert not commands(release)["changed"]
