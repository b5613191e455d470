"""Waiting for what takes a while, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds. Long beside what things take, so that a busy machine fails no test; what must be quick is measured."""

_PAUSE = 0.3


def eventually(
    look: Callable[[], Found],
    what: str,
    patience: float = PATIENCE,
    *,
    until: Callable[[Found], object] = bool,
) -> Found:
    """The first finding of `look` that satisfies `until`; fails the test, with the last one, after `patience`."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if until(found):
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"after {patience:.0f} s still not so: {what}. Last seen: {found!r}")
        time.sleep(_PAUSE)
