"""Options and values that several verbs take."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from celery_fleet.topology.load import load_topology
from celery_fleet.topology.problem import InvalidTopology
from celery_fleet.topology.units import parse_duration

from .session import Session, topology_path

with_session = click.make_pass_decorator(Session)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def timeout_option(seconds: float = 1.5) -> Callable[[Any], Any]:
    return click.option(
        "--timeout",
        type=click.FloatRange(0.1, 60),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for workers that do not answer.",
    )


def past(value: str | float) -> float:
    """A time in the past, as seconds since the epoch, from an age such as 15m, or an ISO time."""
    if isinstance(value, float):  # a default
        return value
    with suppress(ValueError):
        return time.time() - parse_duration(value)
    with suppress(ValueError):
        return datetime.fromisoformat(value).astimezone().timestamp()
    raise click.BadParameter(f"{value!r} is neither an age, such as 15m or 2h, nor an ISO time.")


def json_value(shape: type, example: str) -> Callable[[Any], Any]:
    """For the `type` of an argument: JSON of one shape."""

    def convert(value: Any) -> Any:
        try:
            found = json.loads(value)
        except ValueError as error:
            raise click.BadParameter(
                f"{value!r} is not JSON ({error}); write it like '{example}'."
            ) from error
        if not isinstance(found, shape):
            raise click.BadParameter(f"{value!r} is not of the form '{example}'.")
        return found

    return convert


def complete_queue(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of queues, for the shell; nothing where the topology cannot be read."""
    try:
        names = load_topology(topology_path(os.environ)).queues
    except (InvalidTopology, click.ClickException):
        return []
    return [name for name in names if name.startswith(incomplete)]


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere --yes must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Without a terminal to ask on, give --yes.")
    click.confirm(question, abort=True)
