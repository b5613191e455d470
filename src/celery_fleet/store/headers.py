"""Headers that the fleet gives to messages of tasks, and what is taken from any header, whoever has written it."""

SINCE = "fleet_since"
"""When the task was first due (seconds since the epoch). Retries carry it on."""

LOST = "fleet_lost"
"""How many times a process that held the task has died."""

ORIGIN = "fleet_origin"
"""The id of the dead letter that the task retries."""

_LATEST = 1e11
"""Seconds since the epoch; what is later is none that a task could be due at."""


def as_text(value: object) -> str:
    """A text that can be encoded; empty for what is none."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def as_moment(value: object) -> float | None:
    """Seconds since the epoch; None for what is none."""
    return float(value) if isinstance(value, int | float) and 0 < value < _LATEST else None


def as_count(value: object) -> int:
    """How often something was done; 0 for what is none."""
    return value if type(value) is int and 0 <= value < 10**6 else 0


def as_step(value: object) -> int | None:
    """The broker's priority of a message; None for what is none."""
    return value if type(value) is int and 0 <= value < 256 else None
