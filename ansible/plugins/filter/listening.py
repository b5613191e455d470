"""Where services listen, and where others find them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_LOOPBACK = re.compile(r"127\.|localhost\b|\[?::1\b")
_ANY = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - known, not listened on


def is_loopback(address: str) -> bool:
    """Whether other hosts cannot reach it: an address or a name, with or without a port.

    >>> [is_loopback(each) for each in ("127.0.0.1:8000", "localhost", "[::1]:80", "10.0.0.1", "0.0.0.0", "::")]
    [True, True, True, False, False, False]
    """
    return bool(_LOOPBACK.match(address))


def found_at(address: str, host: str) -> str:
    """Where one is found that listens at an address of a host whose own, in the fleet, is `host`; as a URL has it.

    >>> [found_at(each, "10.0.0.1") for each in ("127.0.0.1", "10.8.0.1", "0.0.0.0", "[::]")]
    ['127.0.0.1', '10.8.0.1', '10.0.0.1', '10.0.0.1']
    >>> found_at("[::]", "fd00::1")
    '[fd00::1]'
    """
    found = host if address in _ANY else address
    return f"[{found}]" if ":" in found and not found.startswith("[") else found


class FilterModule:
    """`monitoring_prometheus_address | is_loopback`, `monitoring_prometheus_address | found_at(celery_plan.address)`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"is_loopback": is_loopback, "found_at": found_at}
