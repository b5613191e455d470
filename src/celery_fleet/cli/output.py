"""What people and programs see: tables that fit the terminal, colours on a terminal alone, JSON."""

import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

_GAP = "  "
_LEAST = 8
"""No column is made narrower than this to fit a terminal."""

_READABLE = 18
"""A column that must be narrower than this is better left out, if it may."""

GOOD, WARNING, BAD, DIM = "green", "yellow", "red", "bright_black"


@dataclass(frozen=True)
class Cell:
    """A text of a table in a colour."""

    text: str
    colour: str | None = None

    def __str__(self) -> str:
        return self.text


Value = str | int | float | Cell | None


@dataclass(frozen=True)
class Screen:
    """Where the output goes. `width` None: not a terminal, nothing is shortened."""

    width: int | None
    colours: bool

    @classmethod
    def now(cls) -> "Screen":
        if not sys.stdout.isatty():
            return cls(None, False)
        return cls(shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR"))


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Value]],
    empty: str = "none",
    whole: Collection[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """A table on standard output; `empty` where it has no rows.

    Columns in `whole` are never shortened. A terminal that is too narrow goes without those in `optional`.
    """
    found = [list(row) for row in rows]
    if not found:
        click.echo(empty)
        return
    screen = Screen.now()
    for line in table(headings, found, screen, whole, optional):
        click.echo(line, color=screen.colours)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Value]],
    screen: Screen,
    whole: Collection[str] = (),
    optional: Sequence[str] = (),
) -> list[str]:
    """The lines of a table: numbers to the right, and the widest columns shortened until it fits."""
    if optional and screen.width and _readable_width(headings, rows, whole) > screen.width:
        kept = [position for position, heading in enumerate(headings) if heading != optional[0]]
        fewer = [[row[position] for position in kept] for row in rows]
        return table([headings[position] for position in kept], fewer, screen, whole, optional[1:])
    texts = [list(headings), *([_text(value) for value in row] for row in rows)]
    numeric = [_numeric([row[column] for row in rows]) for column in range(len(headings))]
    widths = [max(len(line[column]) for line in texts) for column in range(len(headings))]
    if screen.width:
        fixed = [heading in whole for heading in headings]
        widths = fitted(widths, screen.width - len(_GAP) * (len(widths) - 1), fixed)
    lines = []
    for number, line in enumerate(texts):
        cells = []
        for column, text in enumerate(line):
            short = shortened(text, widths[column])
            padded = short.rjust(widths[column]) if numeric[column] else short.ljust(widths[column])
            colour = _colour(rows[number - 1][column]) if number else DIM
            cells.append(click.style(padded, fg=colour) if colour and screen.colours else padded)
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _readable_width(headings: Sequence[str], rows: Sequence[Sequence[Value]], whole: Collection[str]) -> int:
    """The width of the table with no column shortened so far that it says nothing any more."""
    total = len(_GAP) * (len(headings) - 1)
    for column, heading in enumerate(headings):
        width = max(len(heading), *(len(_text(row[column])) for row in rows))
        total += width if heading in whole else min(width, _READABLE)
    return total


def fitted(widths: Sequence[int], room: int, fixed: Sequence[bool]) -> list[int]:
    """The widths, the widest made narrower first, until they fit or none can be narrower."""
    found = list(widths)
    while sum(found) > room:
        width, position = max(
            (0 if keep else width, position)
            for position, (width, keep) in enumerate(zip(found, fixed, strict=True))
        )
        if width <= _LEAST:
            break
        found[position] -= 1
    return found


def shortened(text: str, width: int) -> str:
    """
    >>> shortened("default@worker1.example.org", 12)
    'default@wor…'
    """
    return text if len(text) <= width else text[: width - 1] + "…"


def print_facts(facts: Iterable[tuple[str, Value]]) -> None:
    """`name  value` lines, the names aligned. Values of several lines are indented below their name."""
    found = [(name, value) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in found), default=0)
    screen = Screen.now()
    for name, value in found:
        lines = str(value).splitlines() or [""]
        text = _text(value)
        if len(lines) > 1:
            click.echo(f"{name}:")
            for line in lines:
                click.echo(f"  {printable(line)}")
        else:
            colour = _colour(value)
            shown = click.style(text, fg=colour) if colour and screen.colours else text
            click.echo(f"{name.ljust(width)}  {shown}", color=screen.colours)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def paint(text: str, colour: str) -> str:
    """The text in a colour where there are colours."""
    return click.style(text, fg=colour) if Screen.now().colours else text


def age(seconds: float | None) -> str:
    """
    >>> age(0.4), age(75), age(7500), age(200000), age(None)
    ('0s', '1m15s', '2h05m', '2d07h', '-')
    """
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def ago(epoch: float | None) -> float | None:
    """Seconds since a time."""
    return None if epoch is None else time.time() - epoch


def moment(epoch: float | None) -> str:
    """A time of the past few days as people read it, in the host's own zone."""
    return "-" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def compact(value: Any) -> str:
    """A value as short JSON."""
    return json.dumps(value, ensure_ascii=False, default=str, separators=(", ", ": "))


def printable(text: str) -> str:
    """The text without what would move the cursor or change the terminal: arguments and errors are anybody's.

    >>> printable("a\\x1b[31m\\tb")
    'a\\\\x1b[31m\\\\tb'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def _text(value: Value) -> str:
    """For a table: in one line."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    return printable(" ".join(str(value).splitlines()))


def _colour(value: Value) -> str | None:
    return value.colour if isinstance(value, Cell) else None


def _numeric(values: Iterable[Value]) -> bool:
    known = [str(value) for value in values if value is not None]
    return bool(known) and all(text.replace(".", "", 1).isdigit() or text == "-" for text in known)
