"""Exit codes of `fleet`, and errors that are answered in one line."""

import click

OK = 0
PROBLEM = 1
"""The answer is a problem, or what was asked for is not there."""
USAGE = 2
UNREACHABLE = 3
"""Redis could not be reached, or refused."""


class Problem(click.ClickException):
    """What went wrong and what to do about it, in one line."""

    exit_code = PROBLEM


class Unusable(click.ClickException):
    """The command was called where, or in a way that, it cannot work."""

    exit_code = USAGE


class Unreachable(click.ClickException):
    """Redis cannot be asked."""

    exit_code = UNREACHABLE


def one_line(text: object) -> str:
    return " ".join(str(text).split())
