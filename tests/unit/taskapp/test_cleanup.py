import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskapp import cleanup
from taskapp.cleanup import archive_old_records
from taskapp.figures import DAY
from taskapp.store import Store, now


def add_checks(store: Store, ages: list[int]) -> None:
    """A check per age in days."""
    with store.transaction() as connection:
        connection.executemany(
            "INSERT INTO checks (at, application_id, health) VALUES (?, 'shop', 'up')",
            [(now() - age * DAY - 1,) for age in ages],
        )


def remaining(store: Store) -> list[int]:
    with store.transaction() as connection:
        return [row["id"] for row in connection.execute("SELECT id FROM checks ORDER BY id")]


def archived(state_dir: Path) -> list[int]:
    rows = []
    for path in (state_dir / "archive").glob("checks-*.jsonl.gz"):
        rows += [json.loads(line)["id"] for line in gzip.decompress(path.read_bytes()).splitlines()]
    return sorted(rows)


def test_old_rows_move_and_recent_ones_stay(store: Store, state_dir: Path) -> None:
    add_checks(store, [100, 10, 95, 89])
    assert archive_old_records()["result"]["moved"] == {"checks": 2, "records": 0, "deliveries": 0}
    assert (archived(state_dir), remaining(store)) == ([1, 3], [2, 4])
    assert archive_old_records()["result"]["moved"]["checks"] == 0
    assert archived(state_dir) == [1, 3]


def test_every_table_is_archived_whole(store: Store, state_dir: Path) -> None:
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO records VALUES ('FIR-1', 5, NULL, 'Jane', 'jane@example.org', 'A bike')"
        )
        connection.execute("INSERT INTO deliveries VALUES ('k', 5, NULL, 'mail', 'sent')")
    assert archive_old_records()["result"]["moved"] == {"checks": 0, "records": 1, "deliveries": 1}
    [path] = (state_dir / "archive").glob("records-*")
    assert path.stat().st_mode & 0o007 == 0
    assert json.loads(gzip.decompress(path.read_bytes()))["summary"] == "A bike"


def test_batches_have_the_size_asked_for(store: Store, state_dir: Path) -> None:
    add_checks(store, [100] * 7)
    archive_old_records(batch_size=3)
    sizes = [len(gzip.decompress(p.read_bytes()).splitlines()) for p in (state_dir / "archive").iterdir()]
    assert sorted(sizes) == [1, 3, 3]


class Crash(BaseException):
    """The process dies here."""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ages=st.lists(st.integers(0, 200), max_size=12),
    size=st.integers(1, 5),
    crashes=st.lists(
        st.tuples(st.sampled_from(["write", "written", "marked"]), st.integers(0, 3)), max_size=4
    ),
)
def test_each_row_is_in_exactly_one_place_wherever_runs_crash(
    ages: list[int], size: int, crashes: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state_dir = tmp_path_factory.mktemp("state")
    store = Store(state_dir / "taskapp.sqlite3")
    add_checks(store, ages)
    everything = remaining(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKAPP_STATE_DIR", str(state_dir))
        for where, after in crashes:
            with pytest.MonkeyPatch.context() as dying, pytest.raises((Crash, SystemExit)):
                calls = Counter[str]()

                def die(
                    point: str, where: str = where, after: int = after, calls: Counter[str] = calls
                ) -> None:
                    calls[point] += 1
                    if point == where and calls[point] > after:
                        raise Crash

                write, mark = cleanup.write_atomically, cleanup.mark

                def dying_write(path: Path, content: bytes, mode: int, write=write, die=die) -> None:  # type: ignore[no-untyped-def]
                    die("write")
                    write(path, content, mode)
                    die("written")

                def dying_mark(*args, mark=mark, die=die, **kwargs):  # type: ignore[no-untyped-def]
                    batch = mark(*args, **kwargs)
                    die("marked")
                    return batch

                dying.setattr(cleanup, "write_atomically", dying_write)
                dying.setattr(cleanup, "mark", dying_mark)
                archive_old_records(batch_size=size)
                raise SystemExit  # it came through
        archive_old_records(batch_size=size)
    old = [number for number, age in zip(everything, ages, strict=True) if age >= 90]
    assert archived(state_dir) == old
    assert remaining(store) == [number for number in everything if number not in old]


def test_abandoned_partial_files_go_too(state_dir: Path) -> None:
    part = state_dir / "gathers" / ".gather-1.npy.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    os.utime(part, (now() - 2 * DAY, now() - 2 * DAY))
    assert archive_old_records()["result"]["abandoned_files"] == 1
    assert not part.exists()
