"""What operators do is noted in the audit and in the journal."""

import json
import logging
from typing import TYPE_CHECKING, Any

from .models.audit import AuditItem, AuditList
from .models.common import moment

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet

log = logging.getLogger(__name__)

_MOST = 500


def note(
    fleet: "Fleet", actor: "Actor", action: str, subject: str, outcome: str = "done", **details: Any
) -> None:
    """Notes what somebody did: `dlq.retry` on a task. Raises redis.RedisError."""
    told = "".join(f" {name}={json.dumps(value, default=str)}" for name, value in details.items())
    log.info("%s by %s: %s %s%s", action, actor.name, json.dumps(subject), outcome, told)
    fleet.audit.add(actor.name, action, subject, outcome, details)


def entries(fleet: "Fleet", before: str = "", limit: int = 50) -> AuditList:
    """Newest first; `before`: older than the entry with this id."""
    limit = max(1, min(limit, _MOST))
    found = fleet.audit.list(limit + 1, before)
    shown = [
        AuditItem(
            id=entry.id,
            at=moment(entry.at),
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            outcome=entry.outcome,
            details=dict(entry.details),
        )
        for entry in found[:limit]
    ]
    return AuditList(entries=shown, count=len(shown), next=shown[-1].id if len(found) > limit else None)
