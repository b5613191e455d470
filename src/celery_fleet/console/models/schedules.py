"""The schedules of Beat, as the API and the pages show them."""

from typing import Any

from pydantic import Field

from .common import Model, Moment, Request


class BeatInfo(Model):
    """`alive`: it said so within the last seconds; null host: it has never said anything."""

    alive: bool
    host: str | None
    pid: int | None
    seen: Moment | None = Field(description="when it last said so")


class ManualRun(Model):
    """The last time that somebody ran an entry by hand."""

    task_id: str
    by: str
    at: Moment


class ScheduleInfo(Model):
    """A periodic task."""

    name: str
    task: str
    schedule: str
    queue: str | None = Field(description="null: where its route says")
    args: list[Any]
    kwargs: dict[str, Any]
    last_run: Moment | None
    next_run: Moment | None
    runs: int = Field(description="how often Beat has sent it")
    late: bool
    manual: ManualRun | None
    token: str = Field(description="for one run by hand: who comes later with the same one runs nothing")


class ScheduleList(Model):
    beat: BeatInfo
    schedules: list[ScheduleInfo]
    count: int


class RunRequest(Request):
    token: str = Field(
        "", max_length=200, description="of the entry, as it was listed; empty: run it in any case"
    )


class RunResult(Model):
    """`repeated`: the entry was run before with this token; the id is that of the task that ran then."""

    repeated: bool
    name: str
    task: str
    task_id: str
    message: str
