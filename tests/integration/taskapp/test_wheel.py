"""The directory is a project of its own whose wheel is the same whenever it is built."""

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import taskapp

SOURCE = Path(taskapp.__file__).parent


def build(directory: Path) -> Path:
    command = [
        "uv",
        "build",
        "--wheel",
        "--no-build-isolation",
        "--offline",
        "-q",
        "--python",
        sys.executable,
    ]
    subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], "-o", str(directory), str(SOURCE)],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
    )
    [wheel] = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_its_metadata_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {f"taskapp/{path.name}" for path in (*SOURCE.glob("*.py"), SOURCE / "py.typed")}
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    assert names == modules | {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD")}


def test_a_second_build_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    time.sleep(1.1)
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_package_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import taskapp.demo; print(taskapp.__file__)"],
        env={"PYTHONPATH": str(wheel)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{wheel}/taskapp/__init__.py"
