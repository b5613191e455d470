"""Tasks: submitted, searched, looked up, cancelled; their figures and health."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from .common import Links, Model, Moment, Request

STATES = {
    "pending": "PENDING",
    "received": "RECEIVED",
    "processing": "STARTED",
    "retry": "RETRY",
    "completed": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "REVOKED",
    "ignored": "IGNORED",
}
"""State as people say it -> status as Celery has it."""

WORDS = {status: state for state, status in STATES.items()}

Priority = Literal["normal", "high"] | Annotated[int, Field(ge=1, le=10, strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
MOST_SECONDS = 10 * 365 * 86_400.0
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
Arguments = Annotated[list[Any], Field(max_length=1000)]


class Submission(Request):
    """A task to run."""

    type: Name = Field(
        description="A type of `GET /api/v1/tasks/types`, the full name of a task, or its last part when only one "
        "task has it.",
        examples=["process"],
    )
    data: Any = Field(
        default=None, description="The only argument of the task; instead of `args` and `kwargs`."
    )
    args: Arguments | None = Field(default=None, description="Positional arguments.", examples=[[1, "two"]])
    kwargs: dict[str, Any] | None = Field(default=None, description="Named arguments.")
    queue: Name | None = Field(default=None, description="Another queue than the topology says.")
    priority: Priority | None = Field(
        None,
        description="1 (lowest) to 10; `high` is 9; `normal`, or none, is what the topology says for the task.",
        examples=["high"],
    )
    eta: datetime | None = Field(default=None, description="Not before this time; without a zone it is UTC.")
    countdown: Seconds | None = Field(default=None, description="Not before so many seconds from now.")
    expires: Annotated[Seconds, Field(gt=0)] | datetime | None = Field(
        None, description="Not at all after this time, or so many seconds from now."
    )

    @model_validator(mode="after")
    def _agree(self) -> "Submission":
        if "data" in self.model_fields_set and (self.args is not None or self.kwargs is not None):
            raise ValueError("data excludes args and kwargs")
        if self.eta is not None and self.countdown is not None:
            raise ValueError("eta and countdown exclude each other")
        return self

    @property
    def positional(self) -> list[Any]:
        return [self.data] if "data" in self.model_fields_set else list(self.args or [])

    @property
    def named(self) -> dict[str, Any]:
        return dict(self.kwargs or {})


class Submitted(Model):
    """A task that was put into its queue."""

    task_id: str
    status: str = Field(
        "pending", description="pending, or scheduled: it is due later.", examples=["pending"]
    )
    type: str = Field(examples=["process"])
    task: str = Field(description="The name of the task.", examples=["taskapp.demo.process"])
    queue: str
    priority: int = Field(description="1 (lowest) to 10.")
    submitted_at: Moment
    due: Moment | None = Field(default=None, description="Not before.")
    notice: str | None = Field(default=None, description="What could not be checked.")
    links: Links
    replayed: bool = Field(default=False, exclude=True)
    """Whether this is the answer of an earlier, equal request."""


class TaskQuery(Request):
    """What a search wants; all of it."""

    state: str = Field(
        default="", description=f"One of {', '.join(STATES)}, or as Celery says it: SUCCESS ..."
    )
    name: str = Field(default="", max_length=255, description="The name of the task.")
    queue: str = Field(default="", max_length=255)
    worker: str = Field(default="", max_length=255, description="The node that ran it.")
    text: str = Field(default="", max_length=255, description="Part of the id, name, arguments or error.")
    task_id: str = Field(default="", max_length=255)
    since: datetime | None = Field(
        default=None, description="Seen since; ISO 8601 or seconds since the epoch."
    )
    until: datetime | None = Field(default=None, description="Seen until.")
    cursor: str = Field(default="", max_length=400, description="`next_cursor` of an earlier answer.")
    limit: int = Field(default=50, ge=1, le=500)

    @field_validator("state")
    @classmethod
    def _state(cls, value: str) -> str:
        status = STATES.get(value.lower(), value.upper())
        if status and status not in WORDS:
            raise ValueError(f"Input should be one of {', '.join(STATES)}")
        return status


class TaskSummary(Model):
    """A task in a list. Times that are not known are null."""

    task_id: str
    state: str = Field(
        description=f"One of {', '.join(dict.fromkeys(WORDS.values()))}.", examples=["completed"]
    )
    status: str = Field(description="The same as Celery says it.", examples=["SUCCESS"])
    name: str
    queue: str
    worker: str
    priority: int | None = Field(description="1 (lowest) to 10.")
    args: str = Field(description="As people read them, cut when they are long.")
    kwargs: str
    at: Moment = Field(description="When it got into its state.")
    submitted_at: Moment | None = None
    received_at: Moment | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    due: Moment | None = Field(default=None, description="Not before: its ETA, or when it is tried again.")
    wait: float | None = Field(default=None, description="Seconds from being due, or taken in, to its start.")
    runtime: float | None = Field(
        default=None, description="Seconds that it ran; for a running task: until now."
    )
    retries: int = 0
    losses: int = Field(default=0, description="How many processes it has lost.")
    error: str = ""


class TaskList(Model):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None = Field(description="Goes on where this answer ends; null: that was all.")
    counts: dict[str, int] = Field(description="How many tasks the index has in each state.")


class Waiting(Model):
    """Where the message of a task is. `place`: waiting, parked (due later), held (by a worker)."""

    place: str
    queue: str
    position: int | None = Field(
        default=None, description="In the line of its priority, from 1: the next one."
    )
    node: str = ""
    due: Moment | None = None


class Action(Model):
    """What can be done with a task now."""

    possible: bool
    why_not: str = Field(default="", description="Empty when it is possible.")


class TaskDetail(TaskSummary):
    """All that is known of a task."""

    result: Any = Field(default=None, description="What it returned.")
    traceback: str | None = None
    result_note: str = Field(
        default="", description="Why there is no result to show, when there could be one."
    )
    message: Waiting | None = Field(
        default=None, description="Where its message is; null: nowhere, or not found."
    )
    root_id: str = ""
    parent_id: str = ""
    children: list[str] = Field(
        default_factory=list, description="Tasks that it sent, as far as they are known."
    )
    trace_id: str = ""
    trace_url: str | None = None
    origin: str = Field(default="", description="The dead letter that it retries.")
    dead_letter_id: str | None = Field(default=None, description="Its dead letter, when it has one.")
    dead_letter_reason: str | None = None
    retried_as: str = Field(default="", description="The task that retries its dead letter.")
    journal: str = Field(description="Shows its log lines on the host of its worker.")
    actions: dict[str, Action] = Field(description="cancel, retry.")


class Cancelled(Model):
    """A task that will not run (again)."""

    task_id: str
    status: str = Field(default="cancelled", examples=["cancelled"])
    message: str = Field(examples=["Task was running and has been terminated"])
    previous_state: str = Field(description="pending, processing, retry, cancelled.", examples=["processing"])
    cancelled_at: Moment


class Counts(Model):
    """How tasks ended. Rates are shares of all tasks that came in, in percent."""

    total_tasks: int = Field(examples=[150])
    completed_tasks: int = Field(examples=[135])
    failed_tasks: int = Field(examples=[10])
    retried_tasks: int = Field(examples=[5])
    cancelled_tasks: int = Field(examples=[0])
    success_rate: float = Field(examples=[90.0])
    failure_rate: float = Field(examples=[6.67])
    average_durations: dict[str, float] = Field(
        description="Task -> seconds.", examples=[{"automated_gather_creation": 245.5}]
    )
    currently_running: int = Field(examples=[3])


class TaskMetrics(Model):
    """The figures of all tasks, since the fleet's state began or over a window."""

    metrics: Counts
    window: int | None = Field(default=None, description="Seconds, when they were asked for.")
    timestamp: Moment


class HealthCounts(Model):
    """The figures that the judgement rests on."""

    total_tasks: int = Field(examples=[150])
    success_rate: float = Field(examples=[90.0])
    failure_rate: float = Field(examples=[6.67])


class HealthAlert(Model):
    """One thing that is not well."""

    severity: Literal["warning", "critical"]
    message: str = Field(examples=["Task abc123 running for 520 seconds"])
    metric: str = Field(examples=["task_duration"])
    value: int | float = Field(examples=[520])
    task_id: str | None = Field(default=None, examples=["abc123"])
    worker: str | None = None


class TaskHealth(Model):
    """The judgement on tasks, by the thresholds on failures, duration and memory."""

    status: Literal["healthy", "warning", "critical"]
    metrics: HealthCounts
    alerts: list[HealthAlert]
    timestamp: Moment


class ParameterInfo(Model):
    """A parameter of a task."""

    name: str
    kind: str = Field(description="positional, keyword, varargs, varkw.")
    required: bool
    annotation: str
    default: str


class TaskTypeInfo(Model):
    """A task that can be submitted."""

    type: str = Field(
        description="Its short name; the name of the task when it has none.", examples=["process"]
    )
    task: str
    queue: str
    priority: int
    doc: str
    parameters: list[ParameterInfo] | None = Field(description="null: no worker has told them yet.")
    pools: list[str]


class TaskTypes(Model):
    """The tasks that can be submitted."""

    types: list[TaskTypeInfo]


class Step(Submission):
    """A task of a chain or group."""

    immutable: bool = Field(
        False, description="It does not get the result of the task before it as its first argument."
    )


class Chain(Request):
    """Tasks that run one after the other, each when the one before it has succeeded."""

    tasks: list[Step] = Field(min_length=2, max_length=100)


class Group(Request):
    """Tasks that run side by side, and one that runs when all of them have succeeded."""

    tasks: list[Step] = Field(min_length=1, max_length=1000)
    then: Step | None = Field(
        default=None, description="Gets the list of their results as its first argument."
    )


class FlowTask(Model):
    """A task of a flow."""

    task_id: str
    type: str
    task: str
    queue: str
    priority: int
    links: Links


class FlowSubmitted(Model):
    """A chain or group that was submitted."""

    flow: Literal["chain", "group"]
    flow_id: str = Field(description="Of a chain, the id of its last task; of a group, its own.")
    status: str = "pending"
    tasks: list[FlowTask] = Field(description="In the order of the request.")
    then: FlowTask | None = None
    submitted_at: Moment
    notice: str | None = None
    replayed: bool = Field(default=False, exclude=True)
    """Whether this is the answer of an earlier, equal request."""
