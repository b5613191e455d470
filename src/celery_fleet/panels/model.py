"""What dashboards are made of: plain data, which the console draws and from which Grafana's files are generated."""

from dataclasses import dataclass, field

TIME_SERIES, STAT, TABLE = "time series", "stat", "table"
KINDS = (TIME_SERIES, STAT, TABLE)

SECONDS, BYTES, SHARE, COUNT, RATE, BYTE_RATE = (
    "seconds",
    "bytes",
    "share",
    "count",
    "a second",
    "bytes a second",
)
UNITS = (SECONDS, BYTES, SHARE, COUNT, RATE, BYTE_RATE)
"""`share`: 0 to 1. `a second`: how often."""

GOOD, WARN, BAD, BUSY, APART = "good", "warn", "bad", "busy", "apart"
TONES = ("", GOOD, WARN, BAD, BUSY, APART)
"""Colours that mean something; without one, lines have the colours of their places."""

COLUMNS = 24
"""Of a row of panels."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression of a panel.

    It may have `$variables` of its dashboard in matchers with `=~`, `$__rate_interval` and `$__range`.
    """

    expr: str
    legend: str = ""
    """What a series is called, with `{{label}}`s; of a table: the head of the column."""
    tone: str = ""
    level: bool = False
    """A target or a limit, drawn as a dashed line that the others are compared with."""
    only: str = ""
    """When it has data, if that is not always so."""
    unit: str = ""
    """Of a table's column, where it is another than the panel's."""
    words: tuple[tuple[float, str], ...] = ()
    """Of a table's column: what values are called."""


@dataclass(frozen=True)
class Threshold:
    """From this value on (or, when `below`, under it) a panel has this tone."""

    value: float
    tone: str


@dataclass(frozen=True)
class Panel:
    """`id` is unique in its dashboard. `empty_when_healthy`: the fault that fills it; empty: it always has data."""

    id: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = TIME_SERIES
    thresholds: tuple[Threshold, ...] = ()
    below: bool = False
    """Low values are the bad ones."""
    empty_when_healthy: str = ""
    width: int = 12
    fill: bool = False
    spread: bool = False
    """Milliseconds and hours can be told apart: the scale is logarithmic."""
    top: float | None = None
    """Where the scale ends, when its end means something."""
    labels: tuple[tuple[str, str], ...] = ()
    """Of a table: labels that are columns, and their heads."""


@dataclass(frozen=True)
class Variable:
    """What one can choose: the values of `label` of the series that `of` selects. Nothing chosen means all."""

    name: str
    title: str
    of: str
    label: str


@dataclass(frozen=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    description: str
    sections: tuple[Section, ...]
    variables: tuple[Variable, ...] = field(default=())

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)

    def panel(self, panel_id: str) -> Panel | None:
        return next((panel for panel in self.panels if panel.id == panel_id), None)
