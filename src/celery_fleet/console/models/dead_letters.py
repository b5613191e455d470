"""Dead letters, as the API and the pages show them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from celery_fleet.store.deadletters import REASONS

from .common import Model, Moment, Request

BulkAction = Literal["retry", "delete"]


class DeadLetterFilter(Request):
    """Which letters are meant; empty: all. Either `ids`, or what all of the letters have."""

    name: str = Field(default="", max_length=200, description="The name of the task; * and ? match any.")
    queue: str = Field(default="", max_length=200)
    reason: str = Field(default="", description=f"One of {', '.join(REASONS)}.")
    text: str = Field(default="", max_length=200, description="Part of the id, name, error or arguments.")
    ids: tuple[Annotated[str, Field(max_length=300)], ...] = Field(default=(), max_length=1000)

    @field_validator("reason")
    @classmethod
    def _known(cls, reason: str) -> str:
        if reason and reason not in REASONS:
            raise ValueError(f"there is no reason {reason!r}: use one of {', '.join(REASONS)}")
        return reason

    @property
    def facets(self) -> dict[str, str]:
        """What was asked for, without `ids`; empty when all letters are meant."""
        found = {"name": self.name, "queue": self.queue, "reason": self.reason, "text": self.text}
        return {name: value for name, value in found.items() if value}


class DeadLetterInfo(Model):
    """A task or message that was set aside, as lists show it."""

    task_id: str
    name: str
    queue: str
    reason: str
    exception: str
    error: str
    args: list[Any] | None = Field(description="null: not known, or too long for a list")
    kwargs: dict[str, Any] | None
    attempts: int
    losses: int = Field(description="how many times a process that held the task has died")
    since: Moment | None = Field(description="when it was first due")
    failed_at: Moment
    worker: str
    priority: int | None = Field(description="1 (lowest) to 10 (highest)")
    root_id: str
    parent_id: str
    trace_id: str
    origin: str = Field(description="the id of the dead letter that this task retried")
    retried_as: str = Field(description="the id of the task that retries this one; empty: none does")
    retried_by: str
    retried_at: Moment | None


class DeadLetterDetail(DeadLetterInfo):
    """The whole letter."""

    traceback: str
    message: str = Field(description="as it was in the queue")
    trace_url: str | None = None


class DeadLetterList(Model):
    """A page of letters, newest first. `counts`: how many there are of each name, queue and reason."""

    failed_tasks: list[DeadLetterInfo]
    count: int = Field(description="on this page")
    total: int = Field(description="that the filter lets through")
    offset: int
    limit: int
    next_offset: int | None = Field(description="where the next page begins; null: this was the last")
    counts: Mapping[str, Mapping[str, int]]


class RetriedLetter(Model):
    """A letter that runs again, under a new id."""

    status: Literal["retried"] = "retried"
    task_id: str
    new_task_id: str
    message: str


class DeletedLetter(Model):
    status: Literal["deleted"] = "deleted"
    task_id: str
    message: str


class BulkPreview(Model):
    """What an action on many letters would touch: the newest `count` of `total`.

    `token` stands for just these letters as they are now. Letters that come later are left alone; when one of
    them was retried or deleted meanwhile, the token is stale, and the action is refused.
    """

    total: int
    count: int
    skipped: int = Field(description="of `count`, those that a retry leaves out: they were retried before")
    capped: bool = Field(description="there are more than one action touches")
    token: str
    sample: list[DeadLetterInfo]


class BulkRequest(DeadLetterFilter):
    """An action on the letters of a preview, with its token."""

    action: BulkAction
    token: str = Field(max_length=200)


class BulkResult(Model):
    """What was done. `retried`: new ids by the old ones; `refused`: why the others were left alone."""

    action: BulkAction
    done: int
    retried: dict[str, str]
    refused: dict[str, str]
