"""A reading takes no longer than who scrapes waits."""

import time
from collections.abc import Callable
from typing import TypeVar

import redis

_Found = TypeVar("_Found")


class Steps:
    """Takes steps as long as there is time for another one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def __call__(self, look: Callable[[], _Found]) -> _Found:
        """Raises redis.TimeoutError when it is too late to begin."""
        if time.monotonic() > self._end:
            raise redis.TimeoutError(f"its answers took more than {self._seconds:g} s together")
        return look()
