"""What must hold between queues, routes, limits, retries and the beat schedule, wherever they are written."""

from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .fields import filled
from .hints import did_you_mean
from .problem import Problem, Where, location, show
from .units import human_duration
from .variables import FLEET, RETRY, read_variables

Values = Mapping[str, Any]


def read_work(variables: Mapping[Any, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The fleet-wide variables in plain form, less what is wrong, and everything that is wrong with them."""
    values, found = read_variables(variables, FLEET)
    told = {problem.where for problem in found}
    fleet = filled(FLEET, values)
    found += _unordered_durations(values, told)
    found += _shadowed_routes(fleet["celery_task_routes"])
    if ("celery_queues",) not in told:
        found += _unknown_queues(fleet, told, "celery_default_queue" in values)
    return values, found


def unknown_queue(where: Where, queue: str, queues: Collection[str]) -> Problem:
    """A queue is named that is not defined."""
    what = f"the queue {show(queue)} is not defined in celery_queues"
    return Problem(where, what, did_you_mean(queue, queues) if queues else "define it there")


def _unknown_queues(fleet: Values, told: set[Where], default_is_given: bool) -> Iterator[Problem]:
    queues, default = fleet["celery_queues"], fleet["celery_default_queue"]
    if default not in queues and ("celery_default_queue",) not in told:
        problem = unknown_queue(("celery_default_queue",), default, queues)
        if not default_is_given:
            what = f"{problem.what}, and is where unrouted tasks go unless this variable is set"
            problem = Problem(problem.where, what, "set celery_default_queue to the queue of unrouted tasks")
        yield problem
    for position, route in enumerate(fleet["celery_task_routes"]):
        if "queue" in route and route["queue"] not in queues:
            yield unknown_queue(("celery_task_routes", position, "queue"), route["queue"], queues)
    for where, retry in _retry_policies(fleet):
        if retry.get("queue") is not None and retry["queue"] not in queues:
            yield unknown_queue((*where, "queue"), retry["queue"], queues)
    for name, entry in fleet["celery_beat_schedule"].items():
        if entry.get("queue") is not None and entry["queue"] not in queues:
            yield unknown_queue(("celery_beat_schedule", name, "queue"), entry["queue"], queues)


def _retry_policies(fleet: Values) -> Iterator[tuple[Where, Values]]:
    """The retry policies that the variables give, and where."""
    yield ("celery_retry",), fleet["celery_retry"]
    for name, queue in fleet["celery_queues"].items():
        yield ("celery_queues", name, "retry"), queue.get("retry", {})
    for position, route in enumerate(fleet["celery_task_routes"]):
        yield ("celery_task_routes", position, "retry"), route.get("retry", {})


def _shadowed_routes(routes: list[Values]) -> Iterator[Problem]:
    earlier: dict[int, str] = {}
    for position, route in enumerate(routes):
        if "task" not in route:
            continue
        task = route["task"]
        by = next((other for other, pattern in earlier.items() if _covers(pattern, task)), None)
        if by is not None:
            yield Problem(
                ("celery_task_routes", position, "task"),
                f"{show(task)} is never reached: celery_task_routes[{by}] ({show(earlier[by])}) is first",
                "put the special route before the general one, or remove one of them",
            )
        earlier[position] = task


def _covers(general: str, special: str) -> bool:
    # Stars and letters that match another pattern as a text also match everything that pattern matches.
    only_stars = "?" not in general and "[" not in general + special
    return general == special or (only_stars and fnmatchcase(special, general))


class _Given(NamedTuple):
    value: int | None
    """None: not known, because it is wrong, or no bound."""
    where: Where
    """Empty: nowhere, it is a default."""


_LIMITS = ("time_limit", "soft_time_limit")
_DELAYS = ("delay", "max_delay", "max_age")


@dataclass(frozen=True)
class _Scope:
    """The limits and delays in force for the fleet, a queue or a route: its own, then what it inherits."""

    told: set[Where]
    limits: ChainMap[str, _Given]
    delays: ChainMap[str, _Given]

    def within(self, values: Values, place: Callable[[str], Where]) -> "_Scope":
        """The scope in this one that has `values` of its own; `place` tells where a key is written."""

        def own(values: Values, keys: Collection[str], place: Callable[[str], Where]) -> dict[str, _Given]:
            sound = {key: _Given(values[key], place(key)) for key in keys if key in values}
            return sound | {key: _Given(None, place(key)) for key in keys if place(key) in self.told}

        limits = own(values, _LIMITS, place)
        delays = own(values.get("retry", {}), _DELAYS, lambda key: (*place("retry"), key))
        return _Scope(self.told, self.limits.new_child(limits), self.delays.new_child(delays))

    def problems(self) -> Iterator[Problem]:
        """Durations in the wrong order, unless both are inherited: they are told where they were given."""
        yield from _unordered(
            self.limits,
            ("soft_time_limit", "time_limit"),
            lambda soft, hard: soft < hard,
            "is not below",
            "lower soft_time_limit (null: none) or raise time_limit: a task is to end before it is killed",
        )
        yield from _unordered(
            self.delays,
            ("max_delay", "delay"),
            lambda longest, first: longest >= first,
            "is less than",
            "raise max_delay or lower delay",
        )
        yield from _unordered(
            self.delays,
            ("max_age", "delay"),
            lambda age, first: age >= first,
            "is less than",
            "raise max_age (null: no bound) or lower delay, or no task is ever tried again",
        )


def _unordered(
    given: ChainMap[str, _Given],
    keys: tuple[str, str],
    ordered: Callable[[int, int], bool],
    *texts: str,
) -> Iterator[Problem]:
    relation, remedy = texts
    own = [key for key in keys if key in given.maps[0]]
    left, right = (given[key] for key in keys)
    if not own or left.value is None or right.value is None or ordered(left.value, right.value):
        return

    def told(key: str) -> str:
        value, where = given[key]
        origin = "" if key in own else f" (from {location(where)})" if where else " (the default)"
        return f"{key} {human_duration(value or 0)}{origin}"

    yield Problem(given[own[0]].where, f"{told(keys[0])} {relation} {told(keys[1])}", remedy)


def _unordered_durations(values: Values, told: set[Where]) -> Iterator[Problem]:
    def at(*where: str | int) -> Callable[[str], Where]:
        return lambda key: (*where, key)

    defaults, retry = filled(FLEET, {}), filled(RETRY, {})
    default = _Scope(
        told,
        ChainMap({key: _Given(defaults[f"celery_{key}"], ()) for key in _LIMITS}),
        ChainMap({key: _Given(retry[key], ()) for key in _DELAYS}),
    )
    of_fleet = {name.removeprefix("celery_"): value for name, value in values.items()}
    fleet = default.within(of_fleet, lambda key: (f"celery_{key}",))
    yield from fleet.problems()
    queues = {
        name: fleet.within(queue, at("celery_queues", name))
        for name, queue in filled(FLEET, values)["celery_queues"].items()
    }
    for queue in queues.values():
        yield from queue.problems()
    for position, route in enumerate(values.get("celery_task_routes", [])):
        if route.get("queue") in queues:
            yield from queues[route["queue"]].within(route, at("celery_task_routes", position)).problems()
