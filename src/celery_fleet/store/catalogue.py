"""The catalogue: the tasks that workers register, with their parameters.

The hash `fleet:catalogue` has a field for each pool and release, which its workers write when they start and renew
each hour. What no worker renews any more is still told, as stale, and forgotten after a week.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import redis

from .presence import FRESH, Presences
from .told import read

RENEWED = 3600.0
"""Seconds after which a worker writes again what it registers."""

_STALE = 2 * RENEWED + 60
_KEPT = 7 * 86400.0
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a task."""

    name: str
    kind: str = "positional"
    """positional, keyword (by its name alone), varargs or varkw."""
    required: bool = True
    annotation: str = ""
    """As its code has it; empty: none."""
    default: str = ""
    """Its repr; empty: none."""
    by_name: bool = True
    """False: it can be given by its place alone."""


@dataclass(frozen=True)
class TaskType:
    """A task that workers register."""

    name: str
    parameters: tuple[Parameter, ...] = ()
    doc: str = ""
    """The first line of its documentation."""
    release: str = ""
    """The release of the worker that started last: its parameters are told."""
    pools: tuple[str, ...] = ()
    """Whose workers register it."""
    at: float = 0.0
    """When a worker last said so, in seconds since the epoch."""
    stale: bool = False
    """No worker registers it any more: those that run have another release, or there have been none for hours."""
    queue: str = ""
    """Where such a worker sends it when nothing else is said; empty: not known."""


class Catalogue:
    """The store. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._key = f"{prefix}fleet:catalogue"
        self._presences = Presences(client, prefix)

    def write(
        self,
        types: Iterable[TaskType],
        release: str,
        started: float | None = None,
        now: float | None = None,
    ) -> None:
        """All the tasks that one worker of these pools registers. `started`: when the worker did."""
        now = time.time() if now is None else now
        of: dict[str, list[TaskType]] = {}
        for each in types:
            for pool in each.pools:
                of.setdefault(pool, []).append(each)
        fields = {
            f"{pool}{_SEPARATOR}{release}": json.dumps(
                {
                    "at": now,
                    "started": now if started is None else started,
                    "types": [_told(each) for each in them],
                }
            ).encode(errors="replace")
            for pool, them in of.items()
        }
        if fields:
            self._client.hset(self._key, mapping=fields)  # type: ignore[arg-type]
        found: Any = self._client.hgetall(self._key)
        old = [name for name, value in found.items() if json.loads(value)["at"] < now - _KEPT]
        if old:
            self._client.hdel(self._key, *old)

    def all(self, now: float | None = None) -> dict[str, TaskType]:
        """By name. Of several releases, that of the worker that started last is told."""
        now = time.time() if now is None else now
        found: Any = self._client.hgetall(self._key)
        running = {(each.pool, each.release) for each in self._presences.all() if each.at >= now - FRESH}
        said = []
        for name, value in found.items():
            pool, release = name.decode(errors="replace").split(_SEPARATOR, 1)
            told = json.loads(value)
            replaced = (pool, release) not in running and any(pool == each for each, _ in running)
            if told["at"] >= now - _KEPT:
                said.append((replaced or told["at"] < now - _STALE, told["started"], pool, release, told))
        # The newest last, so that it replaces the others, and what is stale before all that is not.
        said.sort(key=lambda each: (not each[0], each[1]))
        types: dict[str, TaskType] = {}
        for stale, _, pool, release, told in said:
            for each in told["types"]:
                before = types.get(each["name"])
                others = before.pools if before and before.stale == stale else ()
                types[each["name"]] = replace(
                    _type(each),
                    release=release,
                    pools=tuple(sorted({*others, pool})),
                    at=max(told["at"], before.at if before else 0.0),
                    stale=stale,
                )
        return dict(sorted(types.items()))

    def get(self, name: str) -> TaskType | None:
        return self.all().get(name)


def misfits(task: TaskType, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Why a task cannot be called with these arguments, a sentence for each; none: it can."""
    positional = [each for each in task.parameters if each.kind == "positional"]
    named = {each.name: each for each in task.parameters if each.kind == "keyword" or _by_name(each)}
    takes_more = any(each.kind == "varargs" for each in task.parameters)
    takes_any = any(each.kind == "varkw" for each in task.parameters)
    found = []
    if len(args) > len(positional) and not takes_more:
        found.append(f"{task.name} takes at most {_arguments(len(positional))} by place, not {len(args)}.")
    given = dict(zip((each.name for each in positional), args, strict=False))
    for name, value in kwargs.items():
        if name in given and name in named:
            found.append(f"{name} is given twice: by its place and by its name.")
        elif name in named:
            given[name] = value
        elif not takes_any:
            known = ", ".join(named) or "none"
            found.append(f"{task.name} has no parameter {name}; it knows {known}.")
    for each in task.parameters:
        if each.name in given:
            found += _mistaken(each, given[each.name])
        elif each.required and each.kind in ("positional", "keyword"):
            found.append(f"{each.name} is missing.")
    return found


_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
    "list": ((list, tuple), "a list"),
    "dict": ((dict,), "an object"),
    "None": ((type(None),), "null"),
}


def _mistaken(parameter: Parameter, value: object) -> Iterable[str]:
    """Checks what the annotation says in simple words; what it says in others is left to the task."""
    words = _alternatives(parameter.annotation)
    if not words or any(word not in _JSON_TYPES for word in words):
        return
    for word in words:
        types, _ = _JSON_TYPES[word]
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
            return
    wanted = " or ".join(_JSON_TYPES[word][1] for word in words)
    yield f"{parameter.name} must be {wanted}, not {_shown(value)}."


def _alternatives(annotation: str) -> list[str]:
    """
    >>> _alternatives("int | None"), _alternatives("typing.Optional[list[int]]"), _alternatives("dict[str, int | str]")
    (['int', 'None'], ['list', 'None'], ['dict'])
    """
    text = annotation.strip().replace("typing.", "")
    if match := re.fullmatch(r"Optional\[(.*)\]", text):
        text = f"{match[1]} | None"
    while (
        shorter := re.sub(r"\[[^\[\]]*\]", "", text)
    ) != text:  # what is inside of brackets, inner ones first
        text = shorter
    names = {"List": "list", "Dict": "dict", "NoneType": "None"}
    words = [word.strip() for word in text.split("|")]
    return [names.get(word, word) for word in words if word]


def _by_name(parameter: Parameter) -> bool:
    return parameter.kind == "positional" and parameter.by_name


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _told(each: TaskType) -> dict[str, Any]:
    parameters = [asdict(one) for one in each.parameters]
    return {"name": each.name, "doc": each.doc, "queue": each.queue, "parameters": parameters}


def _type(told: Mapping[str, Any]) -> TaskType:
    return read(TaskType, told, parameters=tuple(read(Parameter, each) for each in told["parameters"]))
