"""Figures computed from the store."""

from datetime import UTC, datetime
from typing import Any

from taskapp.store import Store, now

DAY = 86_400


def figures(store: Store, hours: int) -> dict[str, Any]:
    """What happened in the last `hours`: checks and latency per application, records, deliveries by kind."""
    since = now() - hours * 3600
    with store.transaction() as connection:
        checks = connection.execute(
            "SELECT application_id, health, latency_ms FROM checks WHERE at >= ? ORDER BY latency_ms",
            (since,),
        ).fetchall()
        deliveries = connection.execute(
            "SELECT kind, count(*) AS number FROM deliveries WHERE at >= ? AND state = 'sent' GROUP BY kind",
            (since,),
        ).fetchall()
        records = connection.execute("SELECT count(*) FROM records WHERE at >= ?", (since,)).fetchone()[0]
        known = connection.execute("SELECT id, health FROM applications WHERE active ORDER BY id").fetchall()
    by_application: dict[str, list[Any]] = {}
    for check in checks:
        by_application.setdefault(check["application_id"], []).append(check)
    return {
        "hours": hours,
        "records": records,
        "deliveries": {row["kind"]: row["number"] for row in deliveries},
        "applications": {
            row["id"]: {"health": row["health"], **_availability(by_application.get(row["id"], []))}
            for row in known
        },
    }


def _availability(checks: list[Any]) -> dict[str, float | int | None]:
    latencies = [check["latency_ms"] for check in checks if check["latency_ms"] is not None]
    up = sum(check["health"] == "up" for check in checks)
    return {
        "checks": len(checks),
        "availability": round(up / len(checks), 6) if checks else None,
        "latency_ms_median": percentile(latencies, 0.5),
        "latency_ms_p95": percentile(latencies, 0.95),
    }


def percentile(ordered: list[float], fraction: float) -> float | None:
    """The smallest value that `fraction` of the ordered values do not exceed (nearest rank)."""
    return ordered[max(0, -int(-fraction * len(ordered) // 1) - 1)] if ordered else None


def records_per_day(store: Store, days: int, until: float) -> list[tuple[str, float]]:
    """How many records were filed on each of the last `days` days (UTC), oldest first."""
    first = int(until // DAY) - days + 1
    with store.transaction() as connection:
        rows = connection.execute(
            "SELECT CAST(at / ? AS INTEGER) AS day, count(*) AS number"
            " FROM records WHERE at >= ? GROUP BY day",
            (DAY, first * DAY),
        ).fetchall()
    numbers = {row["day"]: row["number"] for row in rows}
    return [
        (datetime.fromtimestamp(day * DAY, UTC).date().isoformat(), float(numbers.get(day, 0)))
        for day in range(first, first + days)
    ]
