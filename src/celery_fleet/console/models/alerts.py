"""Alerts and silences of Alertmanager, as the API and the pages show them."""

from pydantic import Field, model_validator

from .common import Model, Moment, Request

DAY = 86_400


class AlertInfo(Model):
    """An alert that fires, or would if it were not silenced."""

    fingerprint: str
    name: str
    severity: str
    state: str = Field(description="active, suppressed or unprocessed")
    summary: str
    description: str
    impact: str = Field(description="what users notice of it")
    command: str = Field(description="the first to run; empty: none is known")
    runbook_url: str | None
    dashboard_url: str | None
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: Moment
    silenced_by: list[str]


class Matcher(Request):
    """A label that a silenced alert has. `is_equal` false: has not."""

    name: str = Field(min_length=1, max_length=200)
    value: str = Field(max_length=1000)
    is_regex: bool = False
    is_equal: bool = True


class SilenceInfo(Model):
    id: str
    state: str = Field(description="active, pending or expired")
    by: str
    comment: str
    starts_at: Moment
    ends_at: Moment
    matchers: list[Matcher]
    text: str = Field(description="the matchers, as Alertmanager writes them")


class AlertList(Model):
    """`available` false: `reason` says why nothing is known."""

    available: bool
    reason: str = ""
    alerts: list[AlertInfo] = Field(default_factory=list)
    silences: list[SilenceInfo] = Field(default_factory=list)


class SilenceRequest(Request):
    """The alert of a fingerprint, or all that match, are silent for a while."""

    fingerprint: str = Field(default="", max_length=100)
    matchers: list[Matcher] = Field(default_factory=list, max_length=30)
    duration: int = Field(default=3600, ge=60, le=30 * DAY, description="seconds")
    comment: str = Field(default="", max_length=1000)

    @model_validator(mode="after")
    def _one_way(self) -> "SilenceRequest":
        if bool(self.fingerprint) == bool(self.matchers):
            raise ValueError(
                "say which alerts are meant in one way: by the fingerprint of one, or by matchers"
            )
        return self


class Silenced(Model):
    id: str
    status: str
    message: str
    ends_at: Moment | None = None
