"""config_tree, run as Ansible runs it, against a directory."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import zlib
from pathlib import Path
from typing import Any

import pytest

from unit.ansible.plugins import run

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


def apply(*files: dict[str, Any], prune: tuple[str, ...] = (), check: bool = False) -> dict[str, Any]:
    entries = [
        {"owner": USER, "group": GROUP, **{k: str(v) if k == "dest" else v for k, v in f.items()}}
        for f in files
    ]
    payload = base64.b64encode(zlib.compress(json.dumps(entries).encode())).decode()
    return run("config_tree", check=check, payload=payload, prune=list(prune))


def test_writes_a_tree_once(tmp_path: Path) -> None:
    tree = [
        {"dest": tmp_path / "etc", "directory": True, "mode": "0750"},
        {"dest": tmp_path / "etc/a.conf", "content": "one\n", "mode": "0640"},
        {"dest": tmp_path / "etc/deep/er/b.conf", "content": "two\n"},
        {"dest": tmp_path / "current", "link": "etc"},
    ]
    first = apply(*tree)
    assert first["changed"]
    assert first["changed_files"] == [str(f["dest"]) for f in tree]
    assert (tmp_path / "etc/a.conf").read_text() == "one\n"
    assert (tmp_path / "etc/a.conf").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "etc").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "current").readlink() == Path("etc")
    assert not apply(*tree)["changed"]


def test_leaves_the_time_of_an_unchanged_file_alone(tmp_path: Path) -> None:
    file = {"dest": tmp_path / "a", "content": "one"}
    apply(file)
    os.utime(tmp_path / "a", (1, 1))
    assert not apply(file)["changed"]
    assert apply({**file, "mode": "0600"})["changed"], "a wrong mode is a change"
    assert (tmp_path / "a").stat().st_mtime == 1, (
        "but none of content: whoever reads the file need not restart"
    )


def test_check_mode_tells_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old\n")
    (tmp_path / "stray").write_text("")
    files = [{"dest": tmp_path / "a", "content": "new\n"}, {"dest": tmp_path / "b", "content": "new\n"}]
    told = apply(*files, prune=(f"{tmp_path}/*",), check=True)
    assert told["changed_files"] == [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "stray")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "stray"]
    assert (tmp_path / "b").read_text() == "old\n"
    assert "old" in told["diff"][1]["before"]
    assert "new" in told["diff"][1]["after"]
    assert apply(*files, prune=(f"{tmp_path}/*",))["changed_files"] == told["changed_files"], (
        "and it told the truth"
    )


def test_one_refused_file_stops_the_whole_tree(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("before")
    answer = apply(
        {"dest": tmp_path / "good", "content": "after", "validate": "grep -q after %s"},
        {"dest": tmp_path / "bad", "content": "nonsense", "validate": "grep sense_of_it %s"},
    )
    assert answer["failed"]
    assert "refused by its own program" in answer["msg"]
    assert str(tmp_path / "bad") in answer["msg"]
    assert (tmp_path / "good").read_text() == "before"
    assert not (tmp_path / "bad").exists()


def test_validates_within_a_mirror_of_the_tree(tmp_path: Path) -> None:
    main = {"dest": tmp_path / "main", "content": "include", "validate": f"cat %t{tmp_path}/part %s"}
    part = {"dest": tmp_path / "part", "content": "included"}
    assert apply(main, part)["changed"]
    assert apply({**main, "content": "changed"}, part)["changed"], "the unchanged part is in the mirror, too"


def test_prunes_what_matches_and_is_not_wanted(tmp_path: Path) -> None:
    for name in ("kept.env", "gone.env", "other.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "unit@gone.d").mkdir()
    (tmp_path / "unit@gone.d" / "x.conf").write_text("")
    (tmp_path / "unit@kept.d").mkdir()
    answer = apply(
        {"dest": tmp_path / "kept.env", "content": ""},
        {"dest": tmp_path / "unit@kept.d/x.conf", "content": ""},
        prune=(f"{tmp_path}/*.env", f"{tmp_path}/unit@*.d"),
    )
    assert answer["removed"] == [str(tmp_path / "gone.env"), str(tmp_path / "unit@gone.d")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.env", "other.txt", "unit@kept.d"]


def test_a_secret_is_in_no_answer(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter1")
    answer = apply({"dest": tmp_path / "password", "content": "hunter2", "mode": "0600", "secret": True})
    assert answer["changed"]
    assert "hunter" not in json.dumps(answer)
    assert (tmp_path / "password").read_text() == "hunter2"


@pytest.mark.parametrize(
    ("files", "prune", "words"),
    [
        ([{"dest": "/x", "content": "", "owner": "no-such-user"}], (), "no-such-user"),
        ([{"dest": "/etc", "content": ""}], (), "is a directory and should be a file"),
        ([], ("etc/*",), "must be absolute"),
    ],
)
def test_refuses_with_a_reason(files: list[dict[str, Any]], prune: tuple[str, ...], words: str) -> None:
    answer = apply(*files, prune=prune)
    assert answer["failed"]
    assert words in answer["msg"]


def test_an_owner_that_does_not_exist_yet_is_fine_in_check_mode(tmp_path: Path) -> None:
    assert apply({"dest": tmp_path / "a", "content": "", "owner": "no-such-user"}, check=True)["changed"]
