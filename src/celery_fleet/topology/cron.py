"""Checks five-field cron expressions by the grammar of Celery's `crontab`, without Celery."""

import re
from dataclasses import dataclass

_MONTH_NAMES = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTHS = {name: month for month, name in enumerate(_MONTH_NAMES, start=1)}
_WEEKDAYS = {name: day for day, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_PART = re.compile(
    r"(?:(?P<any>\*)|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?)(?:/(?P<step>[0-9]{1,4}))?\Z"
)


@dataclass(frozen=True)
class _Unit:
    name: str
    least: int
    greatest: int
    names: dict[str, int]

    def number(self, text: str) -> int:
        if text in self.names:
            return self.names[text]
        if not text.isdecimal() or not self.least <= int(text) <= self.greatest:
            known = f" or {', '.join(self.names)}" if self.names else ""
            raise ValueError(f"its {self.name} {text!r} is not {self.least}-{self.greatest}{known}")
        return int(text)

    def expand(self, text: str) -> set[int]:
        numbers: set[int] = set()
        for part in text.lower().split(","):
            match = _PART.match(part)
            if not match:
                raise ValueError(f"its {self.name} {text!r} is not *, a number, a range or a list of them")
            numbers |= set(self._range(match))
        return numbers

    def _range(self, match: re.Match[str]) -> list[int]:
        everything = list(range(self.least, self.greatest + 1))
        if match["any"]:
            numbers = everything
        else:
            first = self.number(match["first"])
            last = self.number(match["last"]) if match["last"] else first
            wrapped = [n for n in everything if n >= first] + [n for n in everything if n <= last]
            numbers = list(range(first, last + 1)) if first <= last else wrapped
        if match["step"] is None:
            return numbers
        if int(match["step"]) == 0:
            raise ValueError(f"its {self.name} has a step of 0")
        if not match["any"] and not match["last"]:
            raise ValueError(f"its {self.name} {match[0]!r} has a step but no range")
        return numbers[:: int(match["step"])]


_UNITS = (
    _Unit("minute", 0, 59, {}),
    _Unit("hour", 0, 23, {}),
    _Unit("day of month", 1, 31, {}),
    _Unit("month", 1, 12, _MONTHS),
    _Unit("day of week", 0, 6, _WEEKDAYS),
)


def parse_cron(text: str) -> str:
    """The expression with single blanks between its fields; ValueError says why it would never run."""
    fields = text.split()
    if len(fields) != len(_UNITS):
        raise ValueError(f"it has {len(fields)} fields and not the 5 of cron: minute hour day month weekday")
    _, _, days, months, _ = (unit.expand(field) for unit, field in zip(_UNITS, fields, strict=True))
    if min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"day {fields[2]} never occurs in month {fields[3]}")
    return " ".join(fields)
