"""From a panel's expression to what Prometheus is asked: variables, windows, steps. Pure functions."""

import re
from collections.abc import Iterator, Mapping, Sequence

from .model import Dashboard

RANGES: Mapping[str, int] = {
    "15m": 900,
    "1h": 3600,
    "3h": 3 * 3600,
    "6h": 6 * 3600,
    "24h": 86_400,
    "2d": 2 * 86_400,
    "7d": 7 * 86_400,
}
"""What can be shown: a word, and its seconds."""

MOST_POINTS = 360
"""Of one line."""

SCRAPE = 15
"""Seconds between two samples, about."""

_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_VARIABLE = re.compile(r"\$([a-z]\w*|__\w+)")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_MATCHER = re.compile(r'=~"[^"]*\$(\w+)')

BUILT_IN = ("__rate_interval", "__range")
"""Variables that Grafana has by itself."""


def step_for(seconds: int) -> int:
    """Seconds between two points, so that a line has no more than it may.

    >>> [step_for(each) for each in (900, 3600, 86_400, 7 * 86_400)]
    [15, 15, 300, 1800]
    """
    return next((step for step in _STEPS if seconds <= step * MOST_POINTS), _STEPS[-1])


def moments(now: float, seconds: int) -> tuple[int, int, int]:
    """Start, end and step: whole steps, so that all who look at the same panel ask for the same.

    >>> moments(1_000_007.0, 900)
    (999105, 1000005, 15)
    """
    step = step_for(seconds)
    end = int(now) // step * step
    return end - seconds // step * step, end, step


def rate_interval(step: int) -> int:
    """Seconds that a rate looks back: over no sample between two points, and over four at the least."""
    return max(4 * SCRAPE, step + SCRAPE)


def escaped(value: str) -> str:
    r"""A value as a part of a regular expression within a string of PromQL: it matches itself and nothing else.

    >>> print(escaped('a.b"c'))
    a\\.b\"c
    """
    quoted = _META.sub(lambda found: f"\\{found[0]}", value)
    return quoted.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def matching(values: Sequence[str]) -> str:
    """What stands for a variable: any of the values; none chosen: all.

    >>> matching([]), matching(["a"]), matching(["a", "b+"])
    ('.*', 'a', '(a|b\\\\\\\\+)')
    """
    if not values:
        return ".*"
    known = [escaped(value) for value in values]
    return known[0] if len(known) == 1 else f"({'|'.join(known)})"


def filled(expr: str, chosen: Mapping[str, Sequence[str]], seconds: int, step: int) -> str:
    """The expression for Prometheus. `chosen`: variable -> values; raises KeyError for one that nobody knows."""
    known = {
        "__rate_interval": f"{rate_interval(step)}s",
        "__range": f"{seconds}s",
        **{name: matching(values) for name, values in chosen.items()},
    }
    return _VARIABLE.sub(lambda found: known[found[1]], expr)


def labelled(legend: str, labels: Mapping[str, str]) -> str:
    """A legend with the values of its labels.

    >>> labelled("{{pool}} on {{ host }}", {"pool": "cpu"})
    'cpu on '
    """
    return _LABEL.sub(lambda found: labels.get(found[1], ""), legend)


def variables_in(expr: str) -> set[str]:
    """Those that an expression has, without Grafana's own.

    `$1` belongs to label_replace.

    >>> sorted(variables_in('rate(a{q=~"$queue"}[$__rate_interval])'))
    ['queue']
    """
    return {name for name in _VARIABLE.findall(expr) if name not in BUILT_IN}


def expressions(dashboards: Sequence[Dashboard]) -> Iterator[tuple[str, str, str]]:
    """Of every query: where it is (`queues/wait/0`), the expression for all values, and the fault that fills it."""
    for dashboard in dashboards:
        everything: dict[str, tuple[str, ...]] = {variable.name: () for variable in dashboard.variables}
        for panel in dashboard.panels:
            for place, query in enumerate(panel.queries):
                expr = filled(query.expr, everything, 3600, 15)
                yield f"{dashboard.name}/{panel.id}/{place}", expr, query.only or panel.empty_when_healthy


def safe(expr: str) -> bool:
    """Whether variables stand only within regular expressions of matchers, where their values are escaped."""
    return len(_MATCHER.findall(expr)) == sum(name not in BUILT_IN for name in _VARIABLE.findall(expr))
