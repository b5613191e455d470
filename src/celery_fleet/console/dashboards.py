"""The fleet's dashboards: what their panels show, from Prometheus; and deployments, from Redis."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels import dashboard as known_dashboard
from celery_fleet.panels.model import STAT, TABLE, Dashboard, Panel, Query
from celery_fleet.panels.queries import RANGES, filled, labelled, moments, step_for

from . import prometheus
from .errors import NotFound
from .models.common import moment
from .models.dashboards import (
    ColumnInfo,
    DashboardDetail,
    DashboardInfo,
    DashboardList,
    DeployInfo,
    DeployList,
    PanelData,
    PanelInfo,
    SectionInfo,
    SeriesInfo,
    ThresholdInfo,
    VariableInfo,
)
from .prometheus import Away, Labels, admitted
from .remembering import remembered

if TYPE_CHECKING:
    from .fleet import Fleet

MOST_SERIES = 24
"""Lines of one panel."""

MOST_ROWS = 200
"""Of a table."""

_DAY = 86_400
_VALUES_KEPT = 30.0
_LEAST_KEPT, _MOST_KEPT = 5.0, 60.0
_DEPLOYS_KEPT = 5.0

Chosen = Mapping[str, Sequence[str]]
"""Variable -> values; none: all."""


def dashboards() -> DashboardList:
    return DashboardList(dashboards=[_info(each) for each in DASHBOARDS])


def find(name: str) -> Dashboard:
    """Raises NotFound."""
    found = known_dashboard(name)
    if found is None:
        names = ", ".join(each.name for each in DASHBOARDS)
        raise NotFound(f"there is no dashboard {name}, but {names}")
    return found


def detail(fleet: "Fleet", name: str, chosen: Chosen) -> DashboardDetail:
    """A dashboard and what can be chosen. Raises NotFound, Unavailable."""
    found, reason = find(name), ""
    values: dict[str, list[str]] = {}
    try:
        values = _values(fleet, found)
        if not found.variables:
            _known_to_answer(fleet)
    except Away as away:
        reason = str(away)
    return _detail(found, chosen, values, reason)


def detail_without_values(found: Dashboard, chosen: Chosen) -> DashboardDetail:
    """The same where Prometheus is not to be asked."""
    return _detail(found, chosen, {}, "")


def _detail(
    found: Dashboard, chosen: Chosen, values: Mapping[str, list[str]], reason: str
) -> DashboardDetail:
    return DashboardDetail(
        **_info(found).model_dump(),
        available=not reason,
        reason=reason,
        ranges=list(RANGES),
        variables=[
            VariableInfo(
                name=each.name,
                title=each.title,
                values=values.get(each.name, []),
                chosen=list(chosen.get(each.name, ())),
            )
            for each in found.variables
        ],
    )


def panel(fleet: "Fleet", name: str, panel_id: str, within: str, chosen: Chosen) -> PanelData:
    """What a panel shows, shared by all who look at the same. Raises NotFound, Unavailable.

    `within`: a key of RANGES.
    """
    found = find(name)
    shown = found.panel(panel_id)
    if shown is None:
        raise NotFound(f"the dashboard {name} has no panel {panel_id}")
    seconds = RANGES[within]
    try:
        asked = checked(found, chosen, lambda: _values(fleet, found))
        kept = min(_MOST_KEPT, max(_LEAST_KEPT, step_for(seconds) / 3))
        key = ("panel", name, panel_id, seconds, tuple(sorted((each, tuple(asked[each])) for each in asked)))
        with admitted():
            return remembered(fleet, key, kept, lambda: _read(fleet, shown, seconds, asked))
    except Away as away:
        return _data(shown, seconds, time.time(), reason=str(away))


def deploys(fleet: "Fleet", limit: int = 20) -> DeployList:
    """The last deployments. Raises redis.RedisError."""
    found = remembered(fleet, "deploys", _DEPLOYS_KEPT, fleet.deploys.list)
    return DeployList(
        deploys=[
            DeployInfo(
                release=each.release,
                at=moment(each.at),
                by=each.by,
                hosts=list(each.hosts),
                rollback=each.rollback,
            )
            for each in found[:limit]
        ]
    )


def checked(
    found: Dashboard, chosen: Chosen, values: Callable[[], Mapping[str, Sequence[str]]]
) -> dict[str, tuple[str, ...]]:
    """The values of all its variables. Raises NotFound for one that Prometheus does not know."""
    asked = {each.name: tuple(sorted(set(chosen.get(each.name, ())))) for each in found.variables}
    if any(asked.values()):
        known = values()
        for name, wanted in asked.items():
            if missing := [value for value in wanted if value not in known[name]]:
                raise NotFound(f"Prometheus knows no {name} {missing[0]}")
    return asked


def table(panel: Panel, found: Sequence[Sequence[tuple[Labels, float]]]) -> list[list[str | float | None]]:
    """Rows, joined by the labels that are columns, then the value of each query."""
    names = [label for label, _ in panel.labels]
    rows: dict[tuple[str, ...], list[float | None]] = {}
    for place, series in enumerate(found):
        for labels, value in series:
            key = tuple(labels.get(name, "") for name in names)
            rows.setdefault(key, [None] * len(found))[place] = _finite(value)
    return [[*key, *values] for key, values in sorted(rows.items())]


def lines(
    query: Query, found: Iterable[tuple[Labels, Mapping[int, float]]], at: Sequence[int]
) -> list[SeriesInfo]:
    """One line for each series, by its legend."""
    made = [
        SeriesInfo(
            label=labelled(query.legend, labels),
            labels=dict(labels),
            values=[_finite(values[when]) if when in values else None for when in at],
            tone=query.tone,
            level=query.level,
        )
        for labels, values in found
    ]
    return sorted((each for each in made if any(value is not None for value in each.values)), key=_by_label)


def most(series: Sequence[SeriesInfo], limit: int = MOST_SERIES) -> list[SeriesInfo]:
    """At most so many: levels, and those whose values are the largest, in the order that they had."""
    if len(series) <= limit:
        return list(series)
    ranked = sorted(series, key=lambda each: (not each.level, -max(filter(None, each.values), default=0.0)))
    kept = {id(each) for each in ranked[:limit]}
    return [each for each in series if id(each) in kept]


def _by_label(series: SeriesInfo) -> str:
    return series.label


def _read(fleet: "Fleet", panel: Panel, seconds: int, chosen: Chosen) -> PanelData:
    """Raises Away."""
    start, end, step = moments(time.time(), seconds)
    expressions = [filled(query.expr, chosen, seconds, step) for query in panel.queries]
    if panel.kind == TABLE:
        rows = table(panel, [prometheus.instant(fleet, expr, time.time()) for expr in expressions])
        return _data(panel, seconds, end, rows=rows)
    if panel.kind == STAT:
        at, series = [end], []
        for query, expr in zip(panel.queries, expressions, strict=True):
            found = prometheus.instant(fleet, expr, time.time())
            series += lines(query, [(labels, {end: value}) for labels, value in found], at)
    else:
        at, series = list(range(start, end + 1, step)), []
        for query, expr in zip(panel.queries, expressions, strict=True):
            series += lines(query, prometheus.over_time(fleet, expr, start, end, step), at)
    return _data(panel, seconds, end, at=at, series=series)


def _data(
    panel: Panel,
    seconds: int,
    until: float,
    *,
    at: Sequence[int] = (),
    series: Sequence[SeriesInfo] = (),
    rows: Sequence[list[str | float | None]] = (),
    reason: str = "",
) -> PanelData:
    shown, columns = most(series), []
    if panel.kind == TABLE:
        columns = [ColumnInfo(title=title, unit="", words={}) for _, title in panel.labels] + [
            ColumnInfo(
                title=query.legend,
                unit=query.unit or panel.unit,
                words={f"{value:g}": word for value, word in query.words},
            )
            for query in panel.queries
        ]
    return PanelData(
        id=panel.id,
        kind=panel.kind,
        unit=panel.unit,
        available=not reason,
        reason=reason,
        since=moment(until - seconds),
        until=moment(until),
        step=step_for(seconds),
        at=list(at),
        series=shown,
        columns=columns,
        rows=list(rows[:MOST_ROWS]),
        left_out=len(series) - len(shown) + max(0, len(rows) - MOST_ROWS),
        thresholds=[ThresholdInfo(value=each.value, tone=each.tone) for each in panel.thresholds],
        below=panel.below,
        spread=panel.spread,
        fill=panel.fill,
        top=panel.top,
        empty_when_healthy=panel.empty_when_healthy,
    )


def _values(fleet: "Fleet", found: Dashboard) -> dict[str, list[str]]:
    """Of each variable what can be chosen. Raises Away, Unavailable."""

    def read() -> dict[str, list[str]]:
        since = time.time() - _DAY
        return {
            each.name: prometheus.label_values(fleet, each.of, each.label, since) for each in found.variables
        }

    with admitted():
        return remembered(fleet, ("values", found.name), _VALUES_KEPT, read)


def _known_to_answer(fleet: "Fleet") -> None:
    """Raises Away, Unavailable."""
    with admitted():
        remembered(
            fleet, "prometheus", _LEAST_KEPT, lambda: prometheus.instant(fleet, "vector(1)", time.time())
        )


def _info(found: Dashboard) -> DashboardInfo:
    return DashboardInfo(
        name=found.name,
        title=found.title,
        description=found.description,
        sections=[
            SectionInfo(
                title=section.title,
                panels=[
                    PanelInfo(
                        id=each.id,
                        title=each.title,
                        description=each.description,
                        kind=each.kind,
                        unit=each.unit,
                        expressions=[query.expr for query in each.queries],
                        empty_when_healthy=each.empty_when_healthy,
                    )
                    for each in section.panels
                ],
            )
            for section in found.sections
        ],
    )


def _finite(value: float) -> float | None:
    """What JSON and charts can say."""
    return value if math.isfinite(value) else None
