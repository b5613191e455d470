"""The releases directory: what is current, what was before, what may go."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from unit.ansible.plugins import load, run

release = load("release")


@pytest.fixture
def releases(tmp_path: Path) -> Any:
    (tmp_path / "releases").mkdir()
    return release.Releases(tmp_path)


def installed(releases: Any, *names: str) -> None:
    for name in names:
        releases.path(name).mkdir()
        (releases.path(name) / "release.json").write_text(json.dumps({"id": name}))


def test_a_release_without_its_description_is_not_installed(releases: Any) -> None:
    installed(releases, "a")
    releases.path("half").mkdir()
    assert releases.installed() == ["a"]


def test_previous_is_the_one_that_ran_before(releases: Any) -> None:
    installed(releases, "a", "b", "c")
    assert releases.current() is None
    for name in ("a", "b", "c"):
        releases.activate(name)
    assert (releases.current(), releases.previous()) == ("c", "b")
    releases.activate("b")
    assert (releases.current(), releases.previous()) == ("b", "c"), "going back can be undone"
    assert releases.current_link.readlink() == Path("releases/b"), (
        "relative, so that a copied tree stays whole"
    )


def test_prunes_the_oldest_and_keeps_a_way_back(releases: Any) -> None:
    installed(releases, "a", "b", "c", "d", "never-run")
    for name in ("b", "a", "c", "d"):
        releases.activate(name)
    assert releases.prunable(3, "d") == ["never-run", "b"]
    assert releases.prunable(1, "d") == ["never-run", "b", "a"], (
        "the one before the current stays in any case"
    )
    assert releases.prunable(9, "d") == []


def test_of_two_runs_at_once_the_second_takes_what_the_first_has_installed(
    tmp_path: Path, releases: Any
) -> None:
    """There is no such archive: to install it once more would fail, as would to begin while the other is at it."""
    with ThreadPoolExecutor() as pool:
        with release.alone(releases.directory):
            second = pool.submit(run, "release", root=str(tmp_path), id="a", archive=str(tmp_path / "none"))
            with pytest.raises(TimeoutError):
                second.result(2)
            installed(releases, "a")
        answer = second.result(20)
    assert (answer.get("current"), releases.current()) == ("a", "a"), answer


def test_rollback_and_its_refusal(tmp_path: Path, releases: Any) -> None:
    installed(releases, "a", "b")
    answer = run("release", root=str(tmp_path), rollback=True)
    assert answer["failed"]
    assert "no release before the current one to go back to" in answer["msg"]
    for name in ("a", "b"):
        releases.activate(name)
    told = run("release", root=str(tmp_path), rollback=True, check=True)
    assert (told["changed"], told["current"], releases.current()) == (True, "a", "b")
    done = run("release", root=str(tmp_path), rollback=True)
    assert (done["changed"], releases.current()) == (True, "a")
    assert run("release", root=str(tmp_path), rollback=True, id="gone")["failed"]


def test_says_that_it_needs_the_archive(tmp_path: Path) -> None:
    assert run("release", root=str(tmp_path), id="new")["missing"]
    assert run("release", root=str(tmp_path), id="new", check=True)["changed"]


def test_refuses_an_archive_for_another_python(tmp_path: Path) -> None:
    content = tmp_path / "release.json"
    content.write_text(json.dumps({"id": "x", "python": "2.7.18"}))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(content, "release.json")
    answer = run("release", root=str(tmp_path / "root"), id="x", archive=str(tmp_path / "x.tar"))
    assert answer["failed"]
    assert "built for Python 2.7.18" in answer["msg"]
    assert not (tmp_path / "root" / "releases" / "x").exists()


def test_switches_only_when_it_is_asked_to(tmp_path: Path, releases: Any) -> None:
    installed(releases, "a", "b")
    releases.activate("a")
    told = run("release", root=str(tmp_path), id="b", activate=False)
    assert (told["changed"], told["switch"], told["id"]) == (False, True, "b")
    assert releases.current() == "a"
    told = run("release", root=str(tmp_path), id="a", activate=False)
    assert (told["changed"], told["switch"], told["id"]) == (False, False, "a")
    assert run("release", root=str(tmp_path), id="new", activate=False)["missing"]
    told = run("release", root=str(tmp_path), id="new", activate=False, check=True)
    assert (told["changed"], told["switch"]) == (True, True)
