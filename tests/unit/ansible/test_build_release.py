"""build-release: what goes into a release, and what makes it another one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def script() -> ModuleType:
    path = str(Path(__file__).resolve().parents[3] / "scripts" / "build-release")
    loader = importlib.machinery.SourceFileLoader("build_release", path)
    spec = importlib.util.spec_from_loader("build_release", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


build = script()
LOCK = """\
# made by a resolver
celery==5.7.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
    # via taskapp
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:cccc
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:dddd
redis[hiredis]==8.1.0 \\
    --hash=sha256:eeee
"""


def test_markers_are_those_of_the_target() -> None:
    assert build.locked_requirements(LOCK, "3.11.2", "x86_64") == [
        "celery==5.7.0 --hash=sha256:aaaa --hash=sha256:bbbb",
        "async-timeout==5.0.1 --hash=sha256:cccc",
        "redis[hiredis]==8.1.0 --hash=sha256:eeee",
    ]
    names = [pin.split("==")[0] for pin in build.locked_requirements(LOCK, "3.13.5", "x86_64")]
    assert names == ["celery", "redis[hiredis]"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("celery==5.7.0", "is not locked"),
        ("celery>=5.7 --hash=sha256:aa", "is not locked"),
        ("celery --hash=sha256:aa", "is not locked"),
        ("celery==5.* --hash=sha256:aa", "is not locked"),
        ("-r other.txt", "option '-r'"),
        ("--index-url https://example.org", "option '--index-url'"),
    ],
)
def test_an_unlocked_requirement_is_refused(line: str, words: str) -> None:
    with pytest.raises(build.BuildError, match=words):
        build.locked_requirements(line + "\n", "3.11.2", "x86_64")


def test_the_id_follows_content_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "pkg").mkdir(parents=True)
        (tmp_path / name / "pkg" / "a.py").write_text("x = 1\n")
    assert build.fingerprint([tmp_path / "one"]) == build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "__pycache__").mkdir()
    (tmp_path / "two" / "__pycache__" / "a.pyc").write_text("")
    assert build.fingerprint([tmp_path / "one"]) == build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "pkg" / "a.py").write_text("x = 2\n")
    assert build.fingerprint([tmp_path / "one"]) != build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "pkg" / "a.py").rename(tmp_path / "two" / "pkg" / "b.py")
    (tmp_path / "two" / "pkg" / "b.py").write_text("x = 1\n")
    assert build.fingerprint([tmp_path / "one"]) != build.fingerprint([tmp_path / "two"]), (
        "a name is content, too"
    )


def test_ids_are_for_people(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "My-App"\nversion = "1.2"\n')
    assert build.name_and_version(tmp_path) == "my_app_1.2"
    assert build.name_and_version(Path("my_app-1.2-py3-none-any.whl")) == "my_app_1.2"
    assert build.name_and_version(Path("my-app-1.2.tar.gz")).startswith("my")
