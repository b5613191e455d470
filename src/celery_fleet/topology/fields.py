"""The building blocks of the field tables: what a value may be, how it is read, what to say when it is wrong.

Every kind has `read(value, where, found)`. It returns the value in plain form (seconds, bytes) or WRONG, and
appends a Problem to `found` for each fault. What is wrong is left out of what is read.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from .hints import did_you_mean, unknown_key
from .problem import Problem, Where, show
from .units import human_size, parse_duration, parse_size, parse_whole

MISSING: Any = object()
WRONG: Any = object()


class Kind(Protocol):
    """What a value may be."""

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        """The value in its plain form, or WRONG with its Problems in `found`."""


@dataclass(frozen=True)
class Field:
    """One key of a mapping. `default` is what an inventory would write; MISSING: none, or it is inherited."""

    kind: Kind
    default: Any = MISSING
    required: bool = False


Fields = Mapping[str, Field]


@dataclass(frozen=True)
class Scalar:
    """One value. `parse` returns its plain form or raises ValueError, whose text may say why."""

    wanted: str
    parse: Callable[[object], Any]
    remedy: str
    choices: tuple[str, ...] = ()
    """The words it may be, if it is one of a few."""

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        try:
            return self.parse(value)
        except ValueError as reason:
            detail = f": {reason}" if str(reason) else ""
            remedy = (
                did_you_mean(value, self.choices) if isinstance(value, str) and self.choices else self.remedy
            )
            found.append(Problem(where, f"{show(value)} is not {self.wanted}{detail}", remedy))
            return WRONG


@dataclass(frozen=True)
class Nullable:
    """`kind`, or null, which is read as `instead`."""

    kind: Kind
    instead: Any = None

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        return self.instead if value is None else self.kind.read(value, where, found)


@dataclass(frozen=True)
class Switched:
    """`kind`, whose settings all have defaults; true is read as an empty mapping, false and null as None."""

    kind: Kind

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        word = value.lower() if isinstance(value, str) else value
        if word is None or word is False or word == "false":
            return None
        return {} if word is True or word == "true" else self.kind.read(value, where, found)


@dataclass(frozen=True)
class Record:
    """A mapping with known keys. Reads to the given keys alone; `filled` adds the defaults."""

    noun: str
    fields: Fields

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            found.append(_not_a_mapping(value, where, f"the settings of {self.noun}", ", ".join(self.fields)))
            return WRONG
        values = {}
        for key, item in value.items():
            if key in self.fields:
                values[key] = self.fields[key].kind.read(item, (*where, key), found)
            else:
                name = key if isinstance(key, str) else show(key)
                found.append(Problem((*where, name), *unknown_key(name, self.noun, self.fields)))
        for key, field in self.fields.items():
            if field.required and key not in value:
                found.append(Problem((*where, key), f"{self.noun} has no {key}", f"add {key}"))
        return _sound(values)


@dataclass(frozen=True)
class Named:
    """A mapping from names of the user's choice to one kind. A wrong entry is read as empty."""

    noun: str
    item: Kind
    name: Scalar

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            found.append(_not_a_mapping(value, where, "a mapping of names to settings", f"{self.noun}: ..."))
            return WRONG
        entries = {}
        for name, settings in value.items():
            text = name if isinstance(name, str) else show(name)
            self.name.read(name, (*where, text), found)
            entry = self.item.read(settings, (*where, text), found)
            entries[text] = {} if entry is WRONG else entry
        return entries


@dataclass(frozen=True)
class ListOf:
    """A list of one kind; with `distinct`, no item twice; with `filled`, at least one."""

    noun: str
    item: Kind
    distinct: bool = False
    filled: bool = False

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        if not isinstance(value, list | tuple):
            remedy = (
                f"write [{value}]"
                if isinstance(value, str) and value.isidentifier()
                else "write a list: [a, b]"
            )
            found.append(Problem(where, f"{show(value)} is not a list of {self.noun}", remedy))
            return WRONG
        if self.filled and not value:
            found.append(Problem(where, f"the list of {self.noun} is empty", "name at least one"))
            return WRONG
        items = []
        for position, entry in enumerate(value):
            item = self.item.read(entry, (*where, position), found)
            if item is WRONG:
                continue
            if self.distinct and item in items:
                found.append(
                    Problem((*where, position), f"{show(item)} is listed twice", "remove one of them")
                )
            items.append(item)
        return items


@dataclass(frozen=True)
class Json:
    """Anything JSON can say, of the type `top`: arguments of a task, which travel as JSON."""

    wanted: str
    top: type

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        if not isinstance(value, self.top):
            found.append(Problem(where, f"{show(value)} is not {self.wanted}", f"write {self.wanted}"))
            return WRONG
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            found.append(
                Problem(where, f"it cannot be sent as JSON ({error})", "quote dates, use plain values")
            )
            return WRONG
        return json.loads(text)


_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SET_BY_THE_FLEET = {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"}


@dataclass(frozen=True)
class Environment:
    """Environment variables, read to strings. No message shows a value: it may be a secret."""

    def read(self, value: object, where: Where, found: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            remedy = "write a mapping: {NAME: value}"
            found.append(Problem(where, "it is not a mapping of names to values", remedy))
            return WRONG
        variables = {}
        for name, item in value.items():
            here = (*where, name if isinstance(name, str) else show(name))
            if not isinstance(name, str) or not _ENVIRONMENT_NAME.match(name):
                remedy = "use letters, digits and _, not a digit first"
                found.append(Problem(here, f"{show(name)} is not a name of an environment variable", remedy))
            elif name in _SET_BY_THE_FLEET or name.startswith("CELERY_FLEET_"):
                found.append(Problem(here, f"the fleet itself sets {name}", "remove it from the environment"))
            elif not isinstance(item, str | int | float):
                remedy = 'give one string or number ("" for an empty one)'
                found.append(Problem(here, "its value is not a string, a number or a boolean", remedy))
            elif isinstance(item, str) and "\0" in item:
                found.append(Problem(here, "its value has a NUL character", "no process can be given one"))
            else:
                variables[name] = str(item).lower() if isinstance(item, bool) else str(item)
        return variables


def filled(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were read, and the defaults of the keys that were not given."""
    found: list[Problem] = []
    defaults = {
        name: field.kind.read(field.default, (name,), found)
        for name, field in fields.items()
        if name not in values and field.default is not MISSING
    }
    if found:
        raise AssertionError(f"a default is not valid: {found[0]}")
    return {**defaults, **values}


def defaults_of(fields: Fields) -> dict[str, Any]:
    """The defaults as an inventory would write them."""
    return {name: field.default for name, field in fields.items() if field.default is not MISSING}


def plain(value: Any) -> Any:
    """A copy in plain types: Ansible marks strings, numbers and containers with subclasses of its own."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, int) else float(value)


def whole(wanted: str, least: int, greatest: int | None = None) -> Scalar:
    """A whole number within bounds."""

    def parse(value: object) -> int:
        number = parse_whole(value)
        if number < least or (greatest is not None and number > greatest):
            raise ValueError
        return number

    bounds = f"from {least} to {greatest}" if greatest is not None else f"of at least {least}"
    return Scalar(f"{wanted} {bounds}", parse, f"give a whole number {bounds}")


def number(wanted: str, least: float, greatest: float) -> Scalar:
    """A number, whole or not, within bounds."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        try:
            result = float(value)
        except (ValueError, OverflowError):
            raise ValueError from None
        if not least <= result <= greatest:
            raise ValueError
        return result

    bounds = f"from {least:g} to {greatest:g}"
    return Scalar(f"{wanted} {bounds}", parse, f"give a number {bounds}")


def duration(least: int = 1) -> Scalar:
    """Seconds."""

    def parse(value: object) -> int:
        seconds = parse_duration(value)
        if seconds < least:
            raise ValueError(f"it is less than {least} s")
        return seconds

    return Scalar("a duration", parse, "give whole seconds, or 90s, 30m, 2h, 1d")


def size(least: int) -> Scalar:
    """Bytes."""

    def parse(value: object) -> int:
        result = parse_size(value)
        if result < least:
            unit = "; a number without a unit is bytes" if not str(value)[-1:].isalpha() else ""
            raise ValueError(f"it is less than {human_size(least)}{unit}")
        return result

    return Scalar("a size", parse, "give a size such as 512M, 2G or 1.5G")


def switch(wanted: str) -> Scalar:
    """true or false."""

    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError

    return Scalar(wanted, parse, "give true or false")


def one_of(noun: str, *choices: str) -> Scalar:
    """One word of a few."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError

    return Scalar(noun, parse, f"use one of {', '.join(choices)}", choices)


def text(wanted: str, pattern: str, remedy: str) -> Scalar:
    """A string that matches a pattern from its begin to its end."""
    matches = re.compile(rf"(?:{pattern})\Z", re.DOTALL).match

    def parse(value: object) -> str:
        if isinstance(value, str) and matches(value):
            return value
        raise ValueError

    return Scalar(wanted, parse, remedy)


def or_word(word: str, kind: Scalar) -> Scalar:
    """`kind`, or one word such as `auto`, which is read as itself."""

    def parse(value: object) -> Any:
        return word if value == word else kind.parse(value)

    return replace(kind, wanted=f"{kind.wanted} or {word}", parse=parse, remedy=f"{kind.remedy}, or {word}")


def _sound(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not WRONG}


def _not_a_mapping(value: object, where: Where, wanted: str, keys: str) -> Problem:
    return Problem(where, f"{show(value)} is not {wanted}", f"write a mapping: {{{keys}}}")
