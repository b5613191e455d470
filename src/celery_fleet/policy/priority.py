"""Priorities: people say 1 (lowest) to 10 (highest), the Redis transport says 0 (first) to 9 (last).

Topologies, signatures and whatever code gives `apply_async` are on a scale of people; messages, and what a
task finds in its `delivery_info`, are on the transport's. A `Scale` is passed only where one becomes the other:
in the router on the way to a message, and in `signature_from_request` on the way back.
"""

from collections.abc import Callable
from dataclasses import dataclass

STEPS = tuple(range(10))
"""The priorities that have a list of their own in Redis. Every producer and worker must use the same."""

LOWEST, HIGHEST = 1, 10


def broker_priority(priority: int) -> int:
    """What a message carries for a priority from 1 (lowest) to 10 (highest)."""
    if not LOWEST <= priority <= HIGHEST:
        raise ValueError(f"{priority} is not a priority from 1 (lowest) to 10 (highest)")
    return HIGHEST - priority


def fleet_priority(carried: int) -> int:
    """The priority from 1 to 10 of a message that carries this; the transport takes 12 for 9, too."""
    return HIGHEST - _step(carried)


@dataclass(frozen=True)
class Scale:
    """How an app's code counts priorities."""

    to_message: Callable[[int], int]
    """Raises ValueError for what is not on the scale."""
    from_message: Callable[[int], int]


def _step(priority: int) -> int:
    return min(max(int(priority), STEPS[0]), STEPS[-1])


SCALES = {"fleet": Scale(broker_priority, fleet_priority), "celery": Scale(_step, _step)}
"""`fleet`: 1 (lowest) to 10 (highest). `celery`: 0 (first) to 9 (last), as stock Celery counts on Redis."""
