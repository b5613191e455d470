"""Variables of the environment that change the topology of one process, under the names that people know.

They are for processes whose environment is their only configuration, such as containers; an inventory has
`celery_retry`, `celery_time_limit` and `celery_soft_time_limit`. They replace what every queue says; a route
that says something else than its queue keeps it.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from celery_fleet.topology.document import as_document
from celery_fleet.topology.fields import Kind, switch
from celery_fleet.topology.load import read_document
from celery_fleet.topology.model import Topology
from celery_fleet.topology.problem import Problem
from celery_fleet.topology.variables import QUEUE, RETRY

from .priority import SCALES, Scale

RETRY_QUEUE = "promgen_dlq"

_SETTINGS: Mapping[str, tuple[Kind, tuple[str, ...]]] = {
    "CELERY_TASK_TIME_LIMIT": (QUEUE["time_limit"].kind, ("time_limit",)),
    "CELERY_TASK_SOFT_TIME_LIMIT": (QUEUE["soft_time_limit"].kind, ("soft_time_limit",)),
    "MAX_RETRIES": (RETRY["max_retries"].kind, ("retry", "max_retries")),
    "INITIAL_RETRY_DELAY": (RETRY["delay"].kind, ("retry", "delay")),
    "RETRY_BACKOFF_MULTIPLIER": (RETRY["backoff"].kind, ("retry", "backoff")),
    "MAX_RETRY_DELAY": (RETRY["max_delay"].kind, ("retry", "max_delay")),
    "CELERY_ENABLE_PROMGEN_DEAD_LETTER_QUEUE": (switch("a switch"), ("retry", "queue")),
}
"""Each variable, what its value is, and where it belongs in a queue or route of the topology file."""


def with_variables(topology: Topology, variables: Mapping[str, str]) -> Topology:
    """The topology as the environment wants it. Raises ValueError, in one line, naming what it cannot use."""
    found: list[Problem] = []
    given = {
        name: kind.read(variables[name], (name,), found)
        for name, (kind, _) in _SETTINGS.items()
        if variables.get(name)
    }
    if found:
        raise ValueError("; ".join(str(problem) for problem in found))
    if not given:
        return topology
    if "CELERY_ENABLE_PROMGEN_DEAD_LETTER_QUEUE" in given:
        enabled = given["CELERY_ENABLE_PROMGEN_DEAD_LETTER_QUEUE"]
        given["CELERY_ENABLE_PROMGEN_DEAD_LETTER_QUEUE"] = RETRY_QUEUE if enabled else None
    changes = {_SETTINGS[name][1]: value for name, value in given.items()}
    document = _changed(as_document(topology), changes)
    return read_document(document, source=f"the topology with {', '.join(given)} of the environment")


def priority_scale(variables: Mapping[str, str]) -> Scale:
    """How the app's code counts, by CELERY_TASK_PRIORITY_SCALE. Raises ValueError."""
    name = variables.get("CELERY_TASK_PRIORITY_SCALE") or "fleet"
    if name not in SCALES:
        raise ValueError(f"CELERY_TASK_PRIORITY_SCALE: {name!r} is none of {', '.join(SCALES)}")
    return SCALES[name]


def _changed(document: Mapping[str, Any], changes: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    changed = deepcopy(dict(document))
    for way, value in changes.items():
        before = {name: _get(queue, way) for name, queue in document["queues"].items()}
        for queue in changed["queues"].values():
            _set(queue, way, value)
        for route in changed["routes"]:
            if _get(route, way) == before[route["queue"]]:
                _set(route, way, value)
    return changed


def _get(settings: Mapping[str, Any], way: tuple[str, ...]) -> Any:
    for key in way:
        settings = settings[key]
    return settings


def _set(settings: dict[str, Any], way: tuple[str, ...], value: Any) -> None:
    for key in way[:-1]:
        settings = settings[key]
    settings[way[-1]] = value
