"""What of a task's arguments people may see: what the inventory marks as sensitive is hidden. Pure functions."""

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from .model import Topology

HIDDEN = "***"

_LEAST = 4
"""Characters of a hidden value that is looked for in texts: shorter ones stand everywhere by chance."""
_MOST = 200
"""Hidden values that are looked for."""
_DEEPEST = 50
"""Levels of nesting that are looked into; what lies deeper is hidden."""
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Shown:
    """A call as people may see it."""

    args: Any
    kwargs: Any
    hides: bool = False
    secrets: tuple[str, ...] = ()
    """The hidden values as they would stand in a text, the longest first."""

    def scrub(self, text: str) -> str:
        """The text without the hidden values, wherever they stand in it."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


class Discretion:
    """The rules of a topology: sensitive names of arguments and keys, and tasks all of whose arguments are."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        patterns = "|".join(translate(_plain(pattern)) for pattern in topology.sensitive_arguments)
        self._matches = re.compile(patterns).match if patterns else lambda _: None
        self.covers = lru_cache(4096)(self._covers)
        self._hides = lru_cache(4096)(lambda name: bool(self._matches(_plain(name))))

    def hides(self, name: object) -> bool:
        """Whether an argument, or a key, of this name is hidden; letters of any case, - as _."""
        return isinstance(name, str) and self._hides(name)

    def _covers(self, name: str, queue: str = "") -> bool:
        """Whether all arguments of a task of this name, in this queue, are hidden."""
        settings, queues = self._topology.settings_for(name), self._topology.queues
        return settings.sensitive or (
            queue != settings.queue and queue in queues and queues[queue].settings.sensitive
        )

    def call(self, name: str, args: Any, kwargs: Any, *, queue: str = "", names: Sequence[str] = ()) -> Shown:
        """A call of the task `name`. `names`: those of its parameters, as far as they are known."""
        found: list[Any] = []
        if self.covers(name, queue) or (name.startswith("celery.") and self._calls_covered(kwargs)):
            found = [args, kwargs]
            args = [HIDDEN] * len(args) if isinstance(args, list | tuple) else HIDDEN
            kwargs = dict.fromkeys(kwargs, HIDDEN) if isinstance(kwargs, Mapping) else HIDDEN
        else:
            args = self._positional(args, names, found)
            kwargs = self._value(kwargs, found, 0)
        return Shown(args, kwargs, True, _texts(found)) if any(found) else Shown(args, kwargs)

    def reprs(
        self, name: str, args: str, kwargs: str, *, queue: str = "", names: Sequence[str] = ()
    ) -> tuple[str, str]:
        """The same for arguments that somebody has already made texts of; hidden whole when they are unclear."""
        if self.covers(name, queue):
            return HIDDEN if args else "", HIDDEN if kwargs else ""
        call = [_parsed(text) for text in (args, kwargs)]
        if None not in call:
            shown = self.call(name, *call, queue=queue, names=names)
            return (
                (_repr(shown.args, call[0]), _repr(shown.kwargs, call[1])) if shown.hides else (args, kwargs)
            )
        unclear = any(map(self.hides, names))
        return HIDDEN if unclear and args else self.text(args), self.text(kwargs)

    def text(self, text: str) -> str:
        """A text that cannot be read; hidden whole when it has a sensitive name in it."""
        return HIDDEN if any(self.hides(word) for word in _NAME.findall(text)) else text

    def _positional(self, args: Any, names: Sequence[str], found: list[Any]) -> Any:
        if not isinstance(args, list | tuple):
            return self._value(args, found, 0)
        shown = []
        for number, value in enumerate(args):
            if number < len(names) and value is not None and self.hides(names[number]):
                found.append((value,))
                shown.append(HIDDEN)
            else:
                shown.append(self._value(value, found, 0))
        return type(args)(shown) if type(args) in (list, tuple) else shown

    def _value(self, value: Any, found: list[Any], depth: int) -> Any:
        if isinstance(value, Mapping | list | tuple) and depth >= _DEEPEST:
            found.append((str(type(value)),))
            return HIDDEN
        if isinstance(value, Mapping):
            if _is_signature(value) and self.covers(value["task"]):
                found.append((value["args"], value["kwargs"]))
                return {**value, "args": [HIDDEN], "kwargs": {HIDDEN: HIDDEN}}
            shown = {}
            for key, item in value.items():
                if item is not None and self.hides(key):
                    found.append((item,))
                    shown[key] = HIDDEN
                else:
                    shown[key] = self._value(item, found, depth + 1)
            return shown
        if isinstance(value, list | tuple):
            return [self._value(item, found, depth + 1) for item in value]
        return value

    def _calls_covered(self, kwargs: Any) -> bool:
        """Whether one of Celery's own tasks, such as celery.map, calls a task that is covered."""
        values = kwargs.values() if isinstance(kwargs, Mapping) else ()
        return any(_is_signature(value) and self.covers(value["task"]) for value in values)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _is_signature(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("task"), str)
        and {"args", "kwargs"} <= value.keys()
    )


def _parsed(text: str) -> Any:
    """The value of a Python literal; None: it is none, or was cut."""
    if not text:
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return None if isinstance(value, str) or value is Ellipsis else value


def _repr(value: Any, given: Any) -> str:
    return repr(tuple(value)) if isinstance(given, tuple) and isinstance(value, list) else repr(value)


def _texts(found: Collection[Any]) -> tuple[str, ...]:
    texts: set[str] = set()
    for leaf in _leaves(found, 0):
        texts |= {leaf, repr(leaf)[1:-1], json.dumps(leaf)[1:-1]}
        if len(texts) > _MOST:
            break
    return tuple(sorted((text for text in texts if len(text) >= _LEAST), key=lambda text: (-len(text), text)))


def _leaves(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif depth < _DEEPEST and isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(item, depth + 1)
