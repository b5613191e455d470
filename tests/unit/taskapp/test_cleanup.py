import gzip
import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
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


class CrashError(BaseException):
    """The process dies here."""


class Doom:
    """Lets a run die at the given step: `mark`, `write` or `written` of the batch with that number."""

    def __init__(self, where: str, batch: int) -> None:
        self.where, self.batch, self.seen = where, batch, Counter[str]()

    def __call__(self, point: str) -> None:
        if point == self.where and self.seen[point] == self.batch:
            raise CrashError
        self.seen[point] += 1


def run_doomed(doom: Doom, size: int) -> None:
    mark, write = cleanup.mark, cleanup.write_atomically

    def dying_mark(*args: Any, **kwargs: Any) -> str | None:
        batch = mark(*args, **kwargs)
        doom("mark")
        return batch

    def dying_write(*args: Any, **kwargs: Any) -> None:
        doom("write")
        write(*args, **kwargs)
        doom("written")

    with pytest.MonkeyPatch.context() as patch, suppress(CrashError):
        patch.setattr(cleanup, "mark", dying_mark)
        patch.setattr(cleanup, "write_atomically", dying_write)
        archive_old_records(batch_size=size)


@pytest.mark.parametrize("where", ["mark", "write", "written"])
def test_the_next_run_finishes_what_a_dead_one_began(where: str, store: Store, state_dir: Path) -> None:
    add_checks(store, [100, 100, 100])
    run_doomed(Doom(where, 0), size=2)
    assert remaining(store) == [1, 2, 3]
    assert archive_old_records(batch_size=2)["result"]["moved"]["checks"] == 3
    assert (archived(state_dir), remaining(store)) == ([1, 2, 3], [])


@settings(max_examples=40, deadline=None)
@given(
    ages=st.lists(st.sampled_from([0, 50, 90, 100, 200]), max_size=12),
    size=st.integers(1, 5),
    dooms=st.lists(
        st.builds(Doom, st.sampled_from(["mark", "write", "written"]), st.integers(0, 3)), max_size=4
    ),
)
def test_each_row_is_in_exactly_one_place_wherever_runs_die(
    ages: list[int], size: int, dooms: list[Doom], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state_dir = tmp_path_factory.mktemp("state")
    store = Store(state_dir / "taskapp.sqlite3")
    add_checks(store, ages)
    everything = remaining(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKAPP_STATE_DIR", str(state_dir))
        for doom in dooms:
            run_doomed(doom, size)
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
