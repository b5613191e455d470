"""Readings that several requests share for a moment, so that many viewers cost as little as one."""

import threading
import time
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

Found = TypeVar("Found")

_MANY = 50
"""Readings of one owner from which on those that are too old are forgotten."""

_FAILED = 1.0
"""Seconds for which a failure is shared: who waited for it must not wait once more."""

_readings: MutableMapping[object, dict[Hashable, "_Reading"]] = WeakKeyDictionary()
_lock = threading.Lock()


class _Reading:
    """One reading, made by one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = float("-inf")
        self.value: Any = None
        self.error: Exception | None = None


def remembered(owner: object, what: Hashable, seconds: float, read: Callable[[], Found]) -> Found:
    """What `read` gave for the owner within so many seconds, or gives now. Whoever asks meanwhile waits for it."""
    with _lock:
        readings = _readings.setdefault(owner, {})
        if len(readings) >= _MANY:
            now = time.monotonic()
            for key in [key for key, each in readings.items() if each.until < now and not each.lock.locked()]:
                del readings[key]
        reading = readings.setdefault(what, _Reading())
    with reading.lock:
        if time.monotonic() >= reading.until:
            try:
                reading.value, reading.error = read(), None
            except Exception as error:
                reading.value, reading.error = None, error
            reading.until = time.monotonic() + (_FAILED if reading.error else seconds)
        if reading.error:
            raise reading.error.with_traceback(None)
        return cast(Found, reading.value)
