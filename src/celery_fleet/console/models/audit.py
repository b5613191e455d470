"""What operators did, as the API and the pages show it."""

from typing import Any

from pydantic import Field

from .common import Model, Moment


class AuditItem(Model):
    """Who did what to what."""

    id: str
    at: Moment
    actor: str
    action: str
    subject: str
    outcome: str
    details: dict[str, Any]


class AuditList(Model):
    """Newest first."""

    entries: list[AuditItem]
    count: int
    next: str | None = Field(description="`before` of the next page; null: this was the last")
