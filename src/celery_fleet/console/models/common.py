"""What all models share."""

from datetime import UTC, datetime
from typing import Annotated, Any, overload

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


class Model(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class Request(BaseModel):
    """The body of a request: a key that it does not know is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_text(value: datetime) -> str:
    text = value.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{text.removesuffix('.000')}Z"


Moment = Annotated[
    datetime,
    PlainSerializer(_as_text, when_used="json"),
    Field(json_schema_extra={"format": "date-time", "examples": ["2025-01-15T10:35:30Z"]}),
]
"""A time; in JSON as UTC, to the millisecond at most."""


@overload
def moment(at: float) -> datetime: ...
@overload
def moment(at: None) -> None: ...
def moment(at: float | None) -> datetime | None:
    """The time of so many seconds since the epoch; None for None."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def now() -> datetime:
    """To the second."""
    return datetime.now(UTC).replace(microsecond=0)


class FieldProblem(Model):
    """What is wrong with one field of a request."""

    field: str = Field(examples=["priority"])
    message: str = Field(examples=["Input should be 'normal', 'high' or a number from 1 to 10"])


class ErrorBody(Model):
    """The one shape of errors."""

    model_config = ConfigDict(frozen=True, extra="allow")

    detail: str = Field(description="What went wrong and what to do about it, for people.")
    code: str = Field(description="The same for programs.", examples=["not_found"])
    request_id: str = Field(description="As in the header X-Request-ID; the console's log has it, too.")
    errors: list[FieldProblem] | None = Field(
        None, description="Field by field, when the request is not valid."
    )


class Links(Model):
    """Where to go on."""

    task: str = Field(examples=["/api/v1/tasks/7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55"])
    page: str = Field(examples=["/ui/tasks/7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55"])


Json = Any
"""Whatever JSON can say."""
