"""The wrapper of `fleet` and its completions, as the role renders them, run by their shells."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from templates.rendering import render, role_variables

BASH, ZSH = "fleet.bash.j2", "fleet.zsh.j2"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands for `fleet` of the current release: tells what it was called with."""
    path = tmp_path / "opt/current/bin/fleet"
    path.parent.mkdir(parents=True)
    path.write_text(
        '#!/bin/sh\n[ -z "$_FLEET_COMPLETE" ] || { printf "plain,status\\nplain,submit\\n"; exit; }\n'
        'echo "$CELERY_FLEET_CALLED_IN" "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def wrapper(program: Path, tmp_path: Path) -> Path:
    """The wrapper; in place of `fleet-run`, which is a test of its own, something that runs the program."""
    text = render("celery", "fleet.j2", role_variables("release") | {"release_root": str(tmp_path / "opt")})
    run = tmp_path / "fleet-run"
    run.write_text(f'#!/bin/sh\nshift\ncd /\nexec {program} "$@"\n')
    path = tmp_path / "fleet"
    path.write_text(text.replace("/usr/local/bin/fleet-run", str(run)))
    for each in (run, path):
        each.chmod(0o755)
    return path


def test_the_wrapper_tells_where_it_was_called(wrapper: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [wrapper, "topology", "check", "a b"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path} topology check a b\n"


def test_bash_completes_for_anybody(wrapper: Path, tmp_path: Path) -> None:
    """Without fleet-run, which only root and celery may use."""
    (tmp_path / "fleet-run").unlink()
    completion = render("celery", BASH, {}).replace("/usr/local/bin/fleet", str(wrapper))
    script = f"{completion}\nCOMP_WORDS=(fleet s); COMP_CWORD=1; _fleet; printf '%s\\n' \"${{COMPREPLY[@]}}\"; complete -p fleet"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.split("\n")[:2] == ["status", "submit"]
    assert "-F _fleet" in done.stdout
    assert done.stderr == ""


def test_bash_completes_nothing_without_the_program(tmp_path: Path) -> None:
    completion = render("celery", BASH, {}).replace("/usr/local/bin/fleet", str(tmp_path / "none"))
    script = f"{completion}\nCOMP_WORDS=(fleet s); COMP_CWORD=1; _fleet; echo ${{#COMPREPLY[@]}}"
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_zsh_is_given_a_completion_function() -> None:
    text = render("celery", ZSH, {})
    assert text.startswith("#compdef fleet\n"), "zsh looks at the first line alone"
    zsh = shutil.which("zsh")
    if zsh:  # not a dependency of this project
        subprocess.run([zsh, "-n", "-c", text], check=True)
