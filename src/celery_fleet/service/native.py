"""Threads, sleep and sockets of the operating system, also where gevent has put its own in their place.

What judges a worker must run while gevent's hub is blocked, so nothing of it may belong to the hub.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def original(module: str, name: str) -> Any:
    """`module.name` as it was before gevent patched it, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(import_module(module), name)


def start_thread(run: Callable[[], object]) -> None:
    """Runs it in a daemon thread of the operating system."""
    original("_thread", "start_new_thread")(run, ())


def sleep(seconds: float) -> None:
    original("time", "sleep")(seconds)
