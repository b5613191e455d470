"""What the inventory says of alerts, targets and receivers, checked and filled in. Pure functions."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).resolve().parents[3] / "src"
if str(_SOURCE) not in sys.path:
    sys.path.insert(0, str(_SOURCE))

from celery_fleet.topology.hints import did_you_mean  # noqa: E402
from celery_fleet.topology.problem import Problem, Where, listed, show  # noqa: E402

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0)
"""Seconds that the fleet's histograms tell apart; a target is one of them."""

URGENCIES = ("urgent", "standard", "bulk")
SEVERITIES = ("page", "ticket", "none")
INDICATORS = ("queueing", "execution")
OBJECTIVES = (*INDICATORS, "errors")
CHANNELS = ("email", "slack", "webhook", "pagerduty")
LABELS = (
    "alertname",
    "severity",
    "queue_name",
    "worker",
    "instance",
    "depends",
    "on_deploy",
    "service",
    "job",
)
ROUTE_KEYS = ("receiver", "match", "group_by", "group_wait", "group_interval", "repeat_interval", "continue")
SECRETS: Mapping[str, Mapping[str, str]] = {
    "email": {"auth_password": "auth_password_file"},
    "slack": {"api_url": "api_url_file"},
    "pagerduty": {"routing_key": "routing_key_file", "service_key": "service_key_file"},
}
"""What is kept in a file of its own, by channel: the key in the inventory -> the key of Alertmanager."""
NOBODY = "nobody"
_TITLE, _TEXT = '{{ template "fleet.title" . }}', '{{ template "fleet.text" . }}'
TOLD: Mapping[str, Mapping[str, Any]] = {
    "email": {"headers": {"Subject": _TITLE}, "text": _TEXT, "html": '{{ template "fleet.html" . }}'},
    "slack": {"title": _TITLE, "text": _TEXT},
    "pagerduty": {"description": _TITLE, "details": {"text": _TEXT}},
    "webhook": {},
}
"""What a channel says, unless an entry says otherwise; the templates are those of fleet.tmpl."""

_DURATION = re.compile(r"(0|([0-9]+(ms|[smhdwy]))+)\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
_FREE_KEYS = ("page", "ticket")


class Refused(ValueError):  # noqa: N818 - it names what was found
    """The text has every problem, and its remedy."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = "\n".join(f"- {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"The variables of monitoring have {count}:\n{lines}")


def alert_settings(given: Any, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every alert's settings: its defaults, and what `given` (alert -> settings) says otherwise. Raises Refused."""
    _refuse(_alert_problems(given, defaults))
    merged: dict[str, dict[str, Any]] = {}
    for name, default in defaults.items():
        own = dict(given.get(name) or {})
        for key, value in own.items():
            if isinstance(default.get(key), Mapping):
                own[key] = {
                    **default[key],
                    **(value if isinstance(value, Mapping) else dict.fromkeys(URGENCIES, value)),
                }
        merged[name] = {"enabled": True, **default, **own}
    return merged


def _alert_problems(given: Any, defaults: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    top = ("monitoring_alerts",)
    if not isinstance(given, Mapping):
        yield Problem(top, f"{show(given)} is no mapping", "write {ALERT: {for: 5m}}")
        return
    for name, own in given.items():
        where = (*top, str(name))
        if name not in defaults:
            yield Problem(where, "there is no such alert", _near(name, defaults))
        elif not isinstance(own, Mapping):
            yield Problem(where, f"{show(own)} is no mapping", "write {for: 5m}, or {enabled: false}")
        else:
            known = {"enabled": True, **defaults[name]}
            for key, value in own.items():
                if key not in known:
                    yield Problem((*where, str(key)), f"{name} has no such setting", _near(key, known))
                else:
                    yield from _value_problems((*where, key), key, value, known[key])


def _value_problems(  # noqa: PLR0912 - one kind of value after the other
    where: Where, key: str, value: Any, default: Any
) -> Iterator[Problem]:
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        kind = next(iter(default.values()))
        for urgency, one in value.items():
            if urgency not in URGENCIES:
                yield Problem((*where, str(urgency)), "this is no urgency", _near(urgency, URGENCIES))
            elif one is not None or key == "severity":
                yield from _value_problems((*where, urgency), key, one, kind)
        return
    if isinstance(default, Mapping):
        default = next(iter(default.values()))
    if value is None and key in _FREE_KEYS:
        return
    if key == "severity":
        if value not in SEVERITIES:
            yield Problem(where, f"{show(value)} is no severity", _near(value, SEVERITIES))
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            yield Problem(where, f"{show(value)} is neither true nor false", "write true or false")
    elif isinstance(default, str):
        if not _is_duration(value):
            yield Problem(where, f"{show(value)} is no duration", 'write one such as "30s", "5m" or "1h"')
    elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        yield Problem(where, f"{show(value)} is no number", f"write a number such as {default}")


def queue_targets(
    queues: Mapping[str, Mapping[str, Any]], slos: Any, objectives: Any, by_queue: Any
) -> dict[str, dict[str, Any]]:
    """Queue -> {urgency, queueing, execution, objectives: {queueing, execution, errors}}: seconds or None, and percent.

    `queues`: those of the topology; `slos`: by urgency; `by_queue`: what single queues have otherwise. Raises Refused.
    """
    _refuse(_target_problems(queues, slos, objectives, by_queue))
    targets = {}
    for name, queue in queues.items():
        urgency = queue.get("urgency", "standard")
        own = {**(slos.get(urgency) or {}), **(by_queue.get(name) or {})}
        targets[name] = {
            "urgency": urgency,
            **{indicator: own.get(indicator) for indicator in INDICATORS},
            "objectives": {**objectives, **(own.get("objectives") or {})},
        }
    return targets


def _target_problems(
    queues: Mapping[str, Any], slos: Any, objectives: Any, by_queue: Any
) -> Iterator[Problem]:
    for variable, given, known in (
        ("monitoring_slos", slos, URGENCIES),
        ("monitoring_slos_by_queue", by_queue, tuple(queues)),
    ):
        if not isinstance(given, Mapping):
            yield Problem((variable,), f"{show(given)} is no mapping", "see docs/alerts.md")
            continue
        for name, own in given.items():
            noun = "urgency" if known is URGENCIES else "queue"
            if name not in known:
                yield Problem((variable, str(name)), f"there is no such {noun}", _near(name, known))
            elif not isinstance(own, Mapping):
                yield Problem(
                    (variable, name), f"{show(own)} is no mapping", "write {queueing: 10, execution: 60}"
                )
            else:
                yield from _targets_of((variable, name), own)
    if not isinstance(objectives, Mapping) or set(objectives) != set(OBJECTIVES):
        remedy = f"give each of {listed(OBJECTIVES)} in percent"
        yield Problem(("monitoring_slo_objectives",), "it does not say all of them", remedy)
    else:
        yield from _objective_problems(("monitoring_slo_objectives",), objectives)


def _targets_of(where: Where, own: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in own.items():
        at = (*where, str(key))
        if key == "objectives":
            yield from _objective_problems(at, value)
        elif key not in INDICATORS:
            yield Problem(at, "there is no such target", _near(key, (*INDICATORS, "objectives")))
        elif value is not None and (isinstance(value, bool) or value not in BOUNDS):
            bounds = ", ".join(f"{bound:g}" for bound in BOUNDS)
            yield Problem(at, f"{show(value)} seconds cannot be told", f"use one of {bounds}, or null")


def _objective_problems(where: Where, objectives: Any) -> Iterator[Problem]:
    if not isinstance(objectives, Mapping):
        yield Problem(where, f"{show(objectives)} is no mapping", "write {errors: 99.5}")
        return
    for key, value in objectives.items():
        if key not in OBJECTIVES:
            yield Problem((*where, str(key)), "there is no such indicator", _near(key, OBJECTIVES))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 100:
            yield Problem(
                (*where, key), f"{show(value)} is no percentage below 100", "write one such as 99.5"
            )


def alertmanager_settings(receivers: Any, routes: Any, directory: str) -> dict[str, Any]:
    """{receivers, routes, secrets}: as Alertmanager's file has them, and the files of secrets: path -> content.

    `receivers`: name -> {email: [...], slack: [...], webhook: [...], pagerduty: [...]}, each entry with
    Alertmanager's own keys, secrets as their values. `routes`: [{receiver, match, ...}], in order; with receivers and no
    route, the first receiver gets all.
    Raises Refused.
    """
    _refuse([*_receiver_problems(receivers), *_route_problems(routes, receivers)])
    secrets: dict[str, str] = {}
    told = [{"name": NOBODY}]
    for name, channels in receivers.items():
        receiver: dict[str, Any] = {"name": name}
        for channel, entries in channels.items():
            receiver[f"{channel}_configs"] = [
                _entry(f"{directory}/{name}-{channel}-{number}", channel, entry, secrets)
                for number, entry in enumerate(entries, 1)
            ]
        told.append(receiver)
    wanted = routes or [{"receiver": name} for name in list(receivers)[:1]]
    return {"receivers": told, "routes": _routes(wanted), "secrets": secrets}


def _routes(routes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is always there, such as Watchdog, goes only where it was asked for by name."""
    named = [route for route in routes if _names_what_is_always_there(route.get("match") or {})]
    others = [route for route in routes if route not in named]
    always = {"receiver": NOBODY, "matchers": ['severity="none"']}
    return [*map(_route, named), always, *map(_route, others)]


def _names_what_is_always_there(match: Mapping[str, Any]) -> bool:
    return match.get("alertname") == "Watchdog" or match.get("severity") == "none"


def _entry(path: str, channel: str, entry: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    own: dict[str, Any] = {"send_resolved": True, **TOLD[channel]}
    for key, value in entry.items():
        if key in SECRETS.get(channel, {}):
            file = f"{path}.{key}"
            secrets[file] = str(value)
            own[SECRETS[channel][key]] = file
        else:
            own[key] = value
    return own


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in route.items() if key != "match"}
    matchers = [_matcher(label, value) for label, value in (route.get("match") or {}).items()]
    return {**own, **({"matchers": matchers} if matchers else {})}


def _matcher(label: str, value: Any) -> str:
    """A list matches any of its values."""
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        return f"{label}={_quoted(values[0])}"
    return f"{label}=~{_quoted('|'.join(re.escape(str(each)) for each in values))}"


def _quoted(value: Any) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _receiver_problems(receivers: Any) -> Iterator[Problem]:
    top = ("monitoring_receivers",)
    if not isinstance(receivers, Mapping):
        yield Problem(
            top, f"{show(receivers)} is no mapping", "write {NAME: {email: [{to: ops@example.org}]}}"
        )
        return
    for name, channels in receivers.items():
        where = (*top, str(name))
        if not isinstance(name, str) or not _NAME.match(name) or name == NOBODY:
            yield Problem(where, "this cannot be a name", f"use letters, digits, - and _, and not {NOBODY}")
        if not isinstance(channels, Mapping) or not channels:
            yield Problem(where, "it says no way to reach anybody", f"give one of {listed(CHANNELS)}")
            continue
        for channel, entries in channels.items():
            if channel not in CHANNELS:
                yield Problem((*where, str(channel)), "there is no such way", _near(channel, CHANNELS))
            elif not isinstance(entries, list | tuple) or not all(
                isinstance(each, Mapping) for each in entries
            ):
                yield Problem((*where, channel), "it is no list of mappings", "write [{...}]")


def _route_problems(routes: Any, receivers: Any) -> Iterator[Problem]:
    top = ("monitoring_routes",)
    if not isinstance(routes, list | tuple):
        yield Problem(top, f"{show(routes)} is no list", "write [{receiver: NAME, match: {severity: page}}]")
        return
    names = [*(receivers if isinstance(receivers, Mapping) else ()), NOBODY]
    for number, route in enumerate(routes):
        where = (*top, number)
        if not isinstance(route, Mapping) or "receiver" not in route:
            yield Problem(where, "it names no receiver", "write {receiver: NAME}")
            continue
        if route["receiver"] not in names:
            yield Problem((*where, "receiver"), "there is no such receiver", _near(route["receiver"], names))
        for key, value in route.items():
            if key not in ROUTE_KEYS:
                yield Problem((*where, str(key)), "a route has no such key", _near(key, ROUTE_KEYS))
            elif key in ("group_wait", "group_interval", "repeat_interval") and not _is_duration(value):
                yield Problem(
                    (*where, key), f"{show(value)} is no duration", 'write one such as "30s" or "4h"'
                )
        match = route.get("match") or {}
        if not isinstance(match, Mapping):
            yield Problem((*where, "match"), "it is no mapping", "write {severity: page}")
            continue
        for label in match:
            if label not in LABELS:
                yield Problem((*where, "match", str(label)), "no alert has this label", _near(label, LABELS))


def _is_duration(value: Any) -> bool:
    return isinstance(value, str) and bool(_DURATION.match(value))


def _near(name: Any, known: Collection[str]) -> str:
    by_lower = {each.lower(): each for each in known}
    remedy = did_you_mean(str(name), tuple(by_lower))
    for lower, each in by_lower.items():
        remedy = re.sub(rf"\b{re.escape(lower)}\b", each, remedy)
    return remedy


def _refuse(problems: Iterator[Problem] | Sequence[Problem]) -> None:
    if found := list(problems):
        raise Refused(found)
