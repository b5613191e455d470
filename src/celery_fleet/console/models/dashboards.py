"""Dashboards, their panels and what these show, as the API gives it."""

from pydantic import Field

from .common import Model, Moment


class ThresholdInfo(Model):
    value: float
    tone: str = Field(description="warn or bad")


class PanelInfo(Model):
    """What a panel shows."""

    id: str
    title: str
    description: str
    kind: str = Field(description="time series, stat or table")
    unit: str = Field(description="seconds, bytes, share (0 to 1), count, a second, bytes a second")
    expressions: list[str] = Field(description="PromQL, with variables")
    empty_when_healthy: str = Field(description="the fault that fills it; empty: it always shows something")


class SectionInfo(Model):
    title: str
    panels: list[PanelInfo]


class VariableInfo(Model):
    """What can be chosen. Nothing chosen means all."""

    name: str
    title: str
    values: list[str] = Field(description="that Prometheus knows of the last day")
    chosen: list[str]


class DashboardInfo(Model):
    name: str
    title: str
    description: str
    sections: list[SectionInfo]


class DashboardList(Model):
    dashboards: list[DashboardInfo]


class DashboardDetail(DashboardInfo):
    """`available` false: `reason` says why nothing is known."""

    available: bool
    reason: str
    ranges: list[str]
    variables: list[VariableInfo]


class SeriesInfo(Model):
    """One line, or one number. `values` is as long as `at` of the panel; null: no sample."""

    label: str
    labels: dict[str, str]
    values: list[float | None]
    tone: str = Field(description="good, warn, bad, busy, apart; empty: any colour")
    level: bool = Field(description="a target or a limit")


class ColumnInfo(Model):
    """Of a table."""

    title: str
    unit: str = Field(description="empty: text")
    words: dict[str, str] = Field(description="what values are called")


class PanelData(Model):
    """What a panel shows now. `available` false: `reason` says why nothing is known."""

    id: str
    kind: str
    unit: str
    available: bool
    reason: str
    since: Moment
    until: Moment
    step: int = Field(description="seconds")
    at: list[int]
    series: list[SeriesInfo]
    columns: list[ColumnInfo]
    rows: list[list[str | float | None]] = Field(description="of a table")
    left_out: int = Field(description="series, or rows, that are not shown, because there are too many")
    thresholds: list[ThresholdInfo]
    below: bool = Field(description="what is under a threshold is bad, and not what is above it")
    spread: bool
    fill: bool
    top: float | None
    empty_when_healthy: str


class DeployInfo(Model):
    """Hosts began to run a release."""

    release: str
    at: Moment
    by: str
    hosts: list[str]
    rollback: bool


class DeployList(Model):
    """Newest first."""

    deploys: list[DeployInfo]
