"""Old rows move from the store into compressed archives."""

import gzip
import json
from typing import Annotated, Any

from pydantic import Field

from taskapp.figures import DAY
from taskapp.files import remove_abandoned, write_atomically
from taskapp.operation import Checkpoint, operation
from taskapp.settings import current
from taskapp.store import Store, current_store, now

TABLES = ("checks", "records", "deliveries")


@operation("afirgen_tasks.cleanup.archive_old_records")
def archive_old_records(
    self: Any,
    older_than_days: Annotated[int, Field(ge=1, le=36_500)] = 90,
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 1000,
) -> dict[str, Any]:
    """Move old rows to `<state_dir>/archive/*.jsonl.gz`, and remove abandoned partial files.

    Batch by batch: rows are marked with the name of their archive, it is written, the rows are deleted. After
    an interruption the next run finishes the marked batch first, so each row is in exactly one archive.
    """
    store, started, checkpoint = current_store(), now(), Checkpoint(self)
    moved = dict.fromkeys(TABLES, 0)
    for table in TABLES:
        while True:
            checkpoint(sum(moved.values()), 0)
            batch = mark(store, table, before=started - older_than_days * DAY, size=batch_size)
            if batch is None:
                break
            moved[table] += move(store, table, batch)
    return {
        "moved": moved,
        "abandoned_files": remove_abandoned(current().state_dir, older_than=started - DAY),
    }


def mark(store: Store, table: str, *, before: float, size: int) -> str | None:
    """Name of the next archive: the unfinished one, else one for the oldest `size` rows, else None."""
    with store.transaction() as connection:
        row = connection.execute(f"SELECT batch FROM {table} WHERE batch IS NOT NULL LIMIT 1").fetchone()  # noqa: S608
        if row is not None:
            return str(row["batch"])
        oldest = connection.execute(
            f"SELECT rowid AS number FROM {table} WHERE at < ? ORDER BY at, rowid LIMIT ?",  # noqa: S608
            (before, size),
        ).fetchall()
        if not oldest:
            return None
        batch = f"{table}-{int(now() * 1e6)}-{oldest[0]['number']}"
        connection.executemany(
            f"UPDATE {table} SET batch = ? WHERE rowid = ?",  # noqa: S608
            [(batch, row["number"]) for row in oldest],
        )
    return batch


def move(store: Store, table: str, batch: str) -> int:
    """Write the archive of a marked batch, then delete its rows; returns their number."""
    with store.transaction() as connection:
        rows = connection.execute(
            f"SELECT * FROM {table} WHERE batch = ? ORDER BY at, rowid",  # noqa: S608
            (batch,),
        ).fetchall()
    if rows:
        lines = "".join(json.dumps(dict(row), sort_keys=True) + "\n" for row in rows)
        path = current().state_dir / "archive" / f"{batch}.jsonl.gz"
        write_atomically(path, gzip.compress(lines.encode(), mtime=0), mode=0o640)
    with store.transaction() as connection:
        return connection.execute(f"DELETE FROM {table} WHERE batch = ?", (batch,)).rowcount  # noqa: S608
