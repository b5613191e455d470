"""What is wrong with an inventory or a topology file, and how to mend it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Where = tuple[str | int, ...]
"""The way to a value: `("celery_queues", "email", "priority")`, list positions as numbers from 0."""

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_@-]+\Z")
_SHOWN_CHARACTERS = 60
_LISTED_NAMES = 16


@dataclass(frozen=True)
class Problem:
    """One fault, and its remedy. `host` is None when it concerns the whole fleet."""

    where: Where
    what: str
    remedy: str
    host: str | None = None
    also: tuple[str, ...] = ()
    """Other hosts that have the same fault."""

    def __str__(self) -> str:
        place = location(self.where) + (f" on {listed([self.host, *self.also])}" if self.host else "")
        return f"{place}: {self.what}. Remedy: {self.remedy}{'' if self.remedy.endswith('?') else '.'}"


class InvalidTopology(ValueError):  # noqa: N818 - it names what was found
    """Variables or a topology file that nothing can be built from. `problems` holds every fault."""

    def __init__(self, problems: Sequence[Problem], source: str = "the topology") -> None:
        self.problems = list(problems)
        self.source = source
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{source} has {counted(len(self.problems), 'problem')}:\n{lines}")


def location(where: Where) -> str:
    """`("celery_task_routes", 2, "queue")` -> `celery_task_routes[2].queue`; odd names are quoted."""
    text = ""
    for segment in where:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif _PLAIN_SEGMENT.match(segment):
            text += f".{segment}" if text else segment
        else:
            text += f"[{show(segment)}]"
    return text or "(top level)"


def show(value: object) -> str:
    """A value as a message quotes it: shortened; containers by their shape alone, they may hold secrets."""
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a list of {counted(len(value), 'item')}" if value else "an empty list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def counted(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _LISTED_NAMES
    return ", ".join(names[:_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")
