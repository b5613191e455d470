"""From a panel's expression to what Prometheus is asked."""

import doctest
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from celery_fleet.panels import DASHBOARDS, queries
from celery_fleet.panels.queries import (
    MOST_POINTS,
    RANGES,
    escaped,
    expressions,
    filled,
    matching,
    moments,
    rate_interval,
    step_for,
)

HOSTILE = ['"} or up{a="', "a|b", "a.b*", "(x", "back\\slash", "new\nline", "$queue", "ü"]


def test_the_examples() -> None:
    assert doctest.testmod(queries).failed == 0


@pytest.mark.parametrize("seconds", RANGES.values())
def test_no_line_has_too_many_points_or_too_few(seconds: int) -> None:
    start, end, step = moments(1_700_000_003.7, seconds)
    assert 60 <= (end - start) // step <= MOST_POINTS
    assert start % step == end % step == 0
    assert 1_700_000_003 - step < end <= 1_700_000_003
    assert seconds - step < end - start <= seconds
    assert rate_interval(step) >= step + 15


def test_all_who_look_in_the_same_step_ask_for_the_same() -> None:
    assert moments(3000.0, 900) == moments(3014.9, 900) != moments(3015.0, 900)


def test_more_than_a_week_has_the_widest_step() -> None:
    assert step_for(10**9) == 3600


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_matches_itself_alone(value: str) -> None:
    expr = filled('a{q=~"$queue"}', {"queue": [value]}, 3600, 15)
    (inside,) = re.findall(r'^a\{q=~"((?:[^"\\]|\\.)*)"\}$', expr)
    assert "\n" not in inside
    pattern = inside.encode().decode("unicode_escape") if value.isascii() else inside
    assert re.fullmatch(pattern, value)
    assert not re.fullmatch(pattern, "a")
    assert not re.fullmatch(pattern, "aXbb")


def test_several_values_are_alternatives_and_none_are_all() -> None:
    assert matching(["a", "b"]) == "(a|b)"
    assert matching([]) == ".*"
    assert escaped("a+b") == r"a\\+b"


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled('a{q=~"$other"}', {"queue": []}, 3600, 15)


def test_what_label_replace_means_is_left_alone() -> None:
    assert filled('label_replace(a, "x", "$1", "y", "(.+)")', {}, 60, 15).count("$1") == 1


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    """Also with values that try to break out."""
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not installed: run `make setup`"
    rules = [
        {"record": f"panel:{place}", "expr": expr}
        for place, (_, expr, _) in enumerate(expressions(DASHBOARDS))
    ]
    rules += [
        {
            "record": f"panel:hostile_{dashboard.name}_{panel.id.replace('-', '_')}",
            "expr": filled(query.expr, chosen, 60, 15),
        }
        for dashboard in DASHBOARDS
        if (chosen := {variable.name: HOSTILE for variable in dashboard.variables})
        for panel in dashboard.panels
        for query in panel.queries[:1]
    ]
    assert len(rules) > 100
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, allow_unicode=True))
    found = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr + found.stdout
