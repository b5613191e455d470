"""The audit: what operators did, newest kept, in the stream `fleet:audit`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

LIMIT = 10_000
"""Entries kept, about."""

_DETAILS_LIMIT = 4096


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to what. `at`: seconds since the epoch, by the clock of Redis; `id` orders the entries."""

    id: str
    at: float
    actor: str
    action: str
    subject: str
    outcome: str = "done"
    details: Mapping[str, Any] = field(default_factory=dict)


class Audit:
    """The store. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._key = f"{prefix}fleet:audit"

    def add(
        self,
        actor: str,
        action: str,
        subject: str,
        outcome: str = "done",
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Notes an action (`dlq.retry`) on a subject (a task, a queue, a filter). Returns the entry's id."""
        told = json.dumps(details or {}, default=str)
        if len(told) > _DETAILS_LIMIT:
            told = json.dumps({"cut": told[: _DETAILS_LIMIT // 2]})
        entry = {"actor": actor, "action": action, "subject": subject, "outcome": outcome, "details": told}
        added: Any = self._client.xadd(self._key, entry, maxlen=LIMIT, approximate=True)  # type: ignore[arg-type]
        return str(added.decode())

    def list(self, limit: int = 50, before: str = "") -> list[AuditEntry]:
        """Entries, newest first; `before`: only those older than the entry with this id."""
        if before and not before.strip("0-"):
            return []  # nothing can be older than 0-0, and Redis takes the question for an error
        newest = f"({before}" if before else "+"
        found: Any = self._client.xrevrange(self._key, newest, "-", count=limit)
        return [_entry(key.decode(), values) for key, values in found]


def _entry(key: str, values: Mapping[bytes, bytes]) -> AuditEntry:
    told = {name.decode(): value.decode(errors="replace") for name, value in values.items()}
    details = json.loads(told.pop("details"))
    return AuditEntry(id=key, at=int(key.partition("-")[0]) / 1000, details=details, **told)
