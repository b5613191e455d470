"""Grafana's files from the panels: plain JSON (schema 39) that Grafana 10 and later read. Pure functions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .model import (
    APART,
    BAD,
    BUSY,
    BYTE_RATE,
    BYTES,
    COLUMNS,
    COUNT,
    GOOD,
    RATE,
    SECONDS,
    SHARE,
    STAT,
    TABLE,
    WARN,
    Dashboard,
    Panel,
    Query,
    Threshold,
    Variable,
)

SCHEMA = 39
TAG = "celery-fleet"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

UNITS: Mapping[str, str] = {
    SECONDS: "s",
    BYTES: "bytes",
    SHARE: "percentunit",
    COUNT: "short",
    RATE: "cps",
    BYTE_RATE: "Bps",
}
COLOURS: Mapping[str, str] = {GOOD: "green", WARN: "orange", BAD: "red", BUSY: "blue", APART: "purple"}
_HEIGHTS = {STAT: 4}
_HEIGHT = 8
_PLAIN = "text"


def generated(dashboards: Sequence[Dashboard]) -> dict[str, str]:
    """File name -> content."""
    return {
        f"{each.name}.json": json.dumps(grafana(each), indent=2, ensure_ascii=False) + "\n"
        for each in dashboards
    }


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana's JSON says it."""
    return {
        "uid": f"celery-fleet-{dashboard.name}",
        "title": f"Celery fleet: {dashboard.title}",
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Celery fleet",
                "tags": [TAG],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
            }
        ],
        "annotations": {"list": [_DEPLOYS]},
        "templating": {"list": [_DATASOURCE, *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard)),
    }


_DEPLOYS = {
    "name": "Deployments",
    "datasource": SOURCE,
    "enable": True,
    "iconColor": "purple",
    # Its value is when it was, in seconds; Grafana wants milliseconds.
    "expr": "1000 * max by (release) (celery_deploy_timestamp_seconds)",
    "useValueForTime": "on",
    "step": "60s",
    "titleFormat": "Deployment of {{release}}",
    "tagKeys": "release",
    "textFormat": "",
}
_DATASOURCE = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "hide": 0,
}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.of}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{variable.name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for section in dashboard.sections:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        left, tallest = 0, 0
        for panel in section.panels:
            height = _HEIGHTS.get(panel.kind, _HEIGHT)
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    kinds = {STAT: ("stat", _stat), TABLE: ("table", _table)}
    kind, more = kinds.get(panel.kind, ("timeseries", _time_series))
    description = panel.description
    if panel.empty_when_healthy:
        description = f"{description} Empty until there is: {panel.empty_when_healthy}."
    found = {
        "id": number,
        "type": kind,
        "title": panel.title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": dict(place),
        "targets": [_target(panel, query, index) for index, query in enumerate(panel.queries)],
    }
    return found | more(panel)


def _target(panel: Panel, query: Query, place: int) -> dict[str, Any]:
    instant = panel.kind in (STAT, TABLE)
    return {
        "refId": _ref(place),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": instant,
        "range": not instant,
        "format": "table" if panel.kind == TABLE else "time_series",
    }


def _ref(place: int) -> str:
    return chr(ord("A") + place)


def _thresholds(panel: Panel) -> dict[str, Any]:
    """Grafana colours what is at a step or above it."""
    if panel.below:
        base, steps = _descending(panel.thresholds)
    else:
        base, steps = _PLAIN, [(each.value, COLOURS[each.tone]) for each in panel.thresholds]
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": colour, "value": at} for at, colour in steps)],
    }


def _descending(thresholds: Sequence[Threshold]) -> tuple[str, list[tuple[float, str]]]:
    """The worst is the lowest, and from the highest of them on all is well."""
    rising = sorted(thresholds, key=lambda each: each.value)
    colours = [*(COLOURS[each.tone] for each in rising), _PLAIN]
    return colours[0], [(each.value, colours[place + 1]) for place, each in enumerate(rising)]


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {
            "defaults": {
                "unit": UNITS[panel.unit],
                "thresholds": _thresholds(panel),
                "color": {"mode": "thresholds"},
            },
            "overrides": [],
        },
        "options": {
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value",
            "justifyMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def _time_series(panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {
        "lineWidth": 1,
        "fillOpacity": 12 if panel.fill else 0,
        "showPoints": "auto",
        "spanNulls": False,
        "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
    }
    if panel.spread:
        custom["scaleDistribution"] = {"type": "symlog", "log": 10, "linearThreshold": 0.1}
    defaults: dict[str, Any] = {
        "unit": UNITS[panel.unit],
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "thresholds": _thresholds(panel),
    }
    if panel.top is not None:
        defaults["max"] = panel.top
    return {
        "fieldConfig": {
            "defaults": defaults,
            "overrides": [
                override
                for place, query in enumerate(panel.queries)
                if (override := _override(place, query)) is not None
            ],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _override(place: int, query: Query) -> dict[str, Any] | None:
    properties: list[dict[str, Any]] = []
    if query.level:
        properties = [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": COLOURS[BAD]}},
        ]
    elif query.tone and not _names_series(query):
        properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": COLOURS[query.tone]}}]
    if not properties:
        return None
    return {"matcher": {"id": "byFrameRefID", "options": _ref(place)}, "properties": properties}


def _names_series(query: Query) -> bool:
    return "{{" in query.legend


def _table(panel: Panel) -> dict[str, Any]:
    """Rows are joined by their labels; the value of each query is a column."""
    heads = dict(panel.labels)
    values = {
        f"Value #{_ref(place)}" if len(panel.queries) > 1 else "Value": query
        for place, query in enumerate(panel.queries)
    }
    order = [*heads, *values]
    return {
        "fieldConfig": {
            "defaults": {
                "unit": UNITS[panel.unit],
                "thresholds": _thresholds(panel),
                "color": {"mode": "thresholds"},
            },
            "overrides": [
                {"matcher": {"id": "byName", "options": query.legend}, "properties": properties}
                for query in panel.queries
                if (properties := _column(query))
            ],
        },
        "options": {"showHeader": True, "cellHeight": "sm"},
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate(order)},
                    "renameByName": heads | {name: query.legend for name, query in values.items()},
                },
            },
        ],
    }


def _column(query: Query) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if query.unit:
        found.append({"id": "unit", "value": UNITS[query.unit]})
    if query.words:
        options = {
            f"{value:g}": {"text": word, "index": place} for place, (value, word) in enumerate(query.words)
        }
        found.append({"id": "mappings", "value": [{"type": "value", "options": options}]})
    return found
