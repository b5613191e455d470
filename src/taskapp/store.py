"""The app's SQLite store: applications and their checks, records, deliveries.

One file in WAL mode under the state directory, shared by all worker processes of a host. A connection lives
for one transaction, so nothing is shared across forks, threads or greenlets.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskapp.errors import TransientError
from taskapp.settings import current

SCHEMA = """
CREATE TABLE applications (
    id TEXT PRIMARY KEY,
    health_url TEXT NOT NULL,
    metadata_url TEXT,
    active INTEGER NOT NULL,
    health TEXT,                -- up | down | unreachable, NULL before the first check
    latency_ms REAL,
    checked_at REAL,
    metadata TEXT,              -- JSON object
    updated_at REAL
);
CREATE TABLE checks (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    batch TEXT,                 -- the archive file that takes this row
    application_id TEXT NOT NULL,
    health TEXT NOT NULL,
    latency_ms REAL
);
CREATE TABLE records (
    id TEXT PRIMARY KEY,
    at REAL NOT NULL,
    batch TEXT,
    complainant TEXT NOT NULL,
    recipient TEXT NOT NULL,
    summary TEXT NOT NULL
);
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,        -- the idempotency key
    at REAL NOT NULL,
    batch TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL         -- sending | sent
);
CREATE INDEX checks_at ON checks (at);
CREATE INDEX records_at ON records (at);
CREATE INDEX deliveries_at ON deliveries (at);
"""


@dataclass(frozen=True)
class Store:
    """The SQLite file at `path`, made at its first use."""

    path: Path
    busy_timeout: float = 10.0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, committed when the block ends well.

        `TransientError` when others hold the file for more than `busy_timeout` seconds.
        """
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its side files the same mode. Records are personal.
            self.path.touch(mode=0o640)
        try:
            with closing(
                sqlite3.connect(self.path, timeout=self.busy_timeout, isolation_level=None)
            ) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                        _create(connection)
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise TransientError(f"{self.path.name} is busy") from error
            raise


def _create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 1")


def current_store() -> Store:
    """The store of this process's settings."""
    return Store(current().state_dir / "taskapp.sqlite3")


def now() -> float:
    """The time as it is stored: seconds since 1970, UTC."""
    return time.time()
