"""First information reports (FIR), and the record of what was sent for them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from taskapp.errors import FatalError, TransientError
from taskapp.settings import Name
from taskapp.store import Store, now

Address = Annotated[str, Field(pattern=r"^[^@\s<>,;\"]+@[^@\s<>,;\"]+$", max_length=254)]
Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\r\n\x00]*$")]


class Record(BaseModel):
    """A first information report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    recipient: Address
    complainant: Line
    summary: Line


def save_record(store: Store, record: Record) -> None:
    """Add a record, or change what it says; the time of its filing stays."""
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO records (id, at, recipient, complainant, summary) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET recipient = excluded.recipient,"
            " complainant = excluded.complainant, summary = excluded.summary",
            (record.id, now(), record.recipient, record.complainant, record.summary),
        )


def record(store: Store, fir_id: str) -> dict[str, Any]:
    """One record with the time of its filing (`at`); `FatalError` when there is none."""
    with store.transaction() as connection:
        row = connection.execute(
            "SELECT id, at, recipient, complainant, summary FROM records WHERE id = ?", (fir_id,)
        ).fetchone()
    if row is None:
        raise FatalError(f"there is no record {fir_id}")
    return dict(row)


@contextmanager
def once(store: Store, kind: str, key: str, *, lease: float) -> Iterator[bool]:
    """Whether what `key` names is still to be done, which the block then does.

    It counts as done when the block ends well. A second run meanwhile gets a `TransientError`; a run that
    died is taken over after `lease` seconds.
    """
    identity = hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()
    with store.transaction() as connection:
        row = connection.execute("SELECT state, at FROM deliveries WHERE id = ?", (identity,)).fetchone()
        if row is not None and row["state"] == "sending" and row["at"] > now() - lease:
            raise TransientError(f"another run is doing {kind} {key}")
        todo = row is None or row["state"] != "sent"
        if todo:
            connection.execute(
                "INSERT INTO deliveries (id, at, kind, state) VALUES (?, ?, ?, 'sending')"
                " ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                (identity, now(), kind),
            )
    if not todo:
        yield False
        return
    try:
        yield True
    except BaseException:
        with store.transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE id = ?", (identity,))
        raise
    with store.transaction() as connection:
        connection.execute("UPDATE deliveries SET state = 'sent', at = ? WHERE id = ?", (now(), identity))
