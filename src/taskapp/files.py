"""Files that are either whole or absent, whatever happens to the process that writes them."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from taskapp.errors import TransientError


def write_atomically(
    path: Path, content: bytes, mode: int = 0o644, check: Callable[[Path], None] = lambda _: None
) -> None:
    """Replace `path` by `content` in one step; its directory is made if need be.

    `check` is given the file before it gets its name; when it raises, `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
    ) as part:
        try:
            part.write(content)
            part.flush()
            os.fchmod(part.fileno(), mode)
            os.fsync(part.fileno())
            check(Path(part.name))
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


@contextmanager
def exclusive_output(path: Path) -> Iterator[BinaryIO]:
    """A file to fill that becomes `path` when the block ends well, and vanishes when it does not.

    The partial file is locked: two runs never compute the same output at once (`TransientError` for the
    second), and what a killed run left behind carries no lock and is reused.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path = path.with_name(f".{path.name}.part")
    part = _open_locked(part_path)
    try:
        part.truncate()
        yield part
        part.flush()
        os.fsync(part.fileno())
        part_path.replace(path)
    except BaseException:
        part_path.unlink(missing_ok=True)
        raise
    finally:
        part.close()


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock the name may have moved on: then this is the published file itself.
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except BlockingIOError:
            file.close()
            raise TransientError(f"{path.name} is being written by another run") from None
        file.close()


def remove_abandoned(directory: Path, older_than: float) -> int:
    """Remove partial files under `directory` that nobody writes and whose last write was before `older_than`.

    `older_than` is a Unix time in seconds. Returns how many were removed.
    """
    removed = 0
    for path in directory.rglob(".*.part"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime >= older_than:
                continue
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink()
                removed += 1
    return removed
