"""The applications under watch and the record of their checks."""

import json
from typing import Any

from taskapp.errors import FatalError
from taskapp.settings import Application
from taskapp.store import Store, now


def register(store: Store, application: Application) -> None:
    """Add an application, or change what is known of it; its last health and metadata stay."""
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO applications (id, health_url, metadata_url, active) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET health_url = excluded.health_url,"
            " metadata_url = coalesce(excluded.metadata_url, metadata_url), active = excluded.active",
            (application.id, application.health_url, application.metadata_url, application.active),
        )


def applications(store: Store) -> list[dict[str, Any]]:
    """All applications by id, with health, latency in milliseconds, and metadata."""
    with store.transaction() as connection:
        rows = [dict(row) for row in connection.execute("SELECT * FROM applications ORDER BY id")]
    for row in rows:
        row["active"] = bool(row["active"])
        row["metadata"] = json.loads(row["metadata"]) if row["metadata"] else None
    return rows


def application(store: Store, application_id: str) -> dict[str, Any]:
    """One application; `FatalError` when it is not registered."""
    for row in applications(store):
        if row["id"] == application_id:
            return row
    raise FatalError(f"application {application_id} is not registered")


def save_health(store: Store, application_id: str, health: str, latency_ms: float | None) -> float:
    """Note the outcome of a check; returns its time."""
    checked_at = now()
    with store.transaction() as connection:
        connection.execute(
            "UPDATE applications SET health = ?, latency_ms = ?, checked_at = ? WHERE id = ?",
            (health, latency_ms, checked_at, application_id),
        )
        connection.execute(
            "INSERT INTO checks (at, application_id, health, latency_ms) VALUES (?, ?, ?, ?)",
            (checked_at, application_id, health, latency_ms),
        )
    return checked_at


def save_metadata(store: Store, application_id: str, metadata: dict[str, Any]) -> float:
    """Replace an application's metadata; returns the time."""
    updated_at = now()
    with store.transaction() as connection:
        connection.execute(
            "UPDATE applications SET metadata = ?, updated_at = ? WHERE id = ?",
            (json.dumps(metadata, sort_keys=True), updated_at, application_id),
        )
    return updated_at
