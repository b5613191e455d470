"""Priorities: people say 1 (lowest) to 10 (highest), the Redis transport says 0 (first) to 9 (last)."""

STEPS = tuple(range(10))
"""The priorities that have a list of their own in Redis. Every producer and worker must use the same."""


def broker_priority(priority: int) -> int:
    """What a message carries for a priority from 1 (lowest) to 10 (highest)."""
    if not 1 <= priority <= 10:
        raise ValueError(f"{priority} is not a priority from 1 to 10")
    return 10 - priority
