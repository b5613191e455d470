import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import taskapp
from taskapp.errors import TransientError
from taskapp.files import exclusive_output, remove_abandoned, write_atomically

SOURCES = Path(taskapp.__file__).parent.parent


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["file"]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_output_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with exclusive_output(path) as output:
        output.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["output"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_output_vanishes(tmp_path: Path, error: type[BaseException]) -> None:
    def run() -> None:
        with exclusive_output(tmp_path / "output") as output:
            output.write(b"part")
            raise error

    with pytest.raises(error):
        run()
    assert names(tmp_path) == []


def test_a_second_run_does_not_disturb_the_first(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with exclusive_output(path) as output:
        output.write(b"first")
        with pytest.raises(TransientError), exclusive_output(path):
            pass
    assert path.read_bytes() == b"first"


WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from taskapp.files import exclusive_output

with exclusive_output(Path(sys.argv[1])) as output:
    output.write(b"x" * 100_000)
    output.flush()
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_run_left_is_reused(tmp_path: Path, number: int) -> None:
    path = tmp_path / "output"
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=SOURCES) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        with pytest.raises(TransientError), exclusive_output(path):
            pass
        process.send_signal(number)
    assert names(tmp_path) == [".output.part"]
    with exclusive_output(path) as output:
        output.write(b"short")
    assert path.read_bytes() == b"short"
    assert names(tmp_path) == ["output"]


def test_only_old_partial_files_that_nobody_writes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    abandoned, recent, other = tmp_path / "deep" / ".a.part", tmp_path / ".b.part", tmp_path / "c.part"
    for path in (abandoned, recent, other):
        path.write_bytes(b"x")
    with exclusive_output(tmp_path / "busy"):
        for path in (abandoned, other, tmp_path / ".busy.part"):
            os.utime(path, (1000, 1000))
        assert remove_abandoned(tmp_path, older_than=2000) == 1
        assert names(tmp_path) == [".b.part", ".busy.part", "c.part", "deep"]
