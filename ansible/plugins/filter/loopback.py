"""Whether an address is one that other hosts cannot reach."""

from __future__ import annotations

import re
from collections.abc import Callable

_LOOPBACK = re.compile(r"127\.|localhost\b|\[?::1\b")


def is_loopback(address: str) -> bool:
    """An address or a name, with or without a port.

    >>> [is_loopback(each) for each in ("127.0.0.1:8000", "localhost", "[::1]:80", "10.0.0.1", "0.0.0.0", "::")]
    [True, True, True, False, False, False]
    """
    return bool(_LOOPBACK.match(address))


class FilterModule:
    """`monitoring_prometheus_address | is_loopback`."""

    def filters(self) -> dict[str, Callable[..., bool]]:
        return {"is_loopback": is_loopback}
