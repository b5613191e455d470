"""New secrets beside the old ones: step by step, and again after a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unit.ansible.plugins import run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("redis-worker", "redis-client"):
        (tmp_path / name).write_text(f"{name}-{'x' * 27}\n")
    (tmp_path / "certificates").mkdir()
    return tmp_path


def step(directory: Path, name: str, **options: Any) -> dict[str, Any]:
    return run("rotate_secrets", directory=str(directory), step=name, **options)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


def test_a_rotation(directory: Path) -> None:
    old = contents(directory)
    assert step(directory, "begin")["changed"]
    begun = contents(directory)
    assert {name: begun[name] for name in old} == old, "nobody has to know of it yet"
    assert [len(begun[f"{name}.next"]) for name in old] == [len(text) for text in old.values()]
    assert not {begun[f"{name}.next"] for name in old} & set(old.values())
    assert (directory / "redis-worker.next").stat().st_mode & 0o777 == 0o600
    assert step(directory, "switch")["changed"]
    switched = contents(directory)
    for name in old:
        assert (switched[name], switched[f"{name}.previous"]) == (begun[f"{name}.next"], old[name])
        assert f"{name}.next" not in switched
    assert step(directory, "end", keep=["redis-client"])["changed"]
    assert set(contents(directory)) == {*old, "redis-client.previous"}
    assert step(directory, "end")["changed"]
    assert set(contents(directory)) == set(old)


@pytest.mark.parametrize("name", ["begin", "switch", "end"])
def test_a_step_that_was_done_changes_nothing(directory: Path, name: str) -> None:
    for each in ("begin", "switch", "end")[: ("begin", "switch", "end").index(name) + 1]:
        step(directory, each)
    before = contents(directory)
    assert not step(directory, name).get("changed")
    assert contents(directory) == before


def test_a_switch_that_was_interrupted_goes_on(directory: Path) -> None:
    step(directory, "begin")
    wanted = contents(directory)
    (directory / "redis-worker.previous").hardlink_to(directory / "redis-worker")
    assert step(directory, "switch")["changed"]
    assert contents(directory)["redis-worker"] == wanted["redis-worker.next"]
    assert contents(directory)["redis-worker.previous"] == wanted["redis-worker"]


def test_one_of_them(directory: Path) -> None:
    step(directory, "begin", names=["redis-worker"])
    assert "redis-client.next" not in contents(directory)


def test_one_whose_last_rotation_has_not_ended_is_left_alone(directory: Path) -> None:
    """A run that failed half way goes on; whoever still comes with the one before is not shut out."""
    step(directory, "begin", names=["redis-client"])
    step(directory, "switch")
    before = contents(directory)
    answer = step(directory, "begin")
    assert answer["waiting"] == ["redis-client"]
    assert contents(directory) == {**before, "redis-worker.next": contents(directory)["redis-worker.next"]}


def test_an_unknown_one_is_refused(directory: Path) -> None:
    answer = step(directory, "begin", names=["redis-wroker"])
    assert "no secret redis-wroker" in answer["msg"]
    assert "redis-client, redis-worker" in answer["msg"]


def test_check_mode(directory: Path) -> None:
    before = contents(directory)
    assert step(directory, "begin", check=True)["changed"]
    assert contents(directory) == before
