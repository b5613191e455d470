"""Where services listen, and where others find them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LOOPBACK = re.compile(r"127\.|localhost\b|\[?::1\b")
_ANY = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - known, not listened on
_WITH_PORT = re.compile(r"(?P<address>\[.*\]|[^:]*):(?P<port>[0-9]+)")


def is_loopback(address: str) -> bool:
    """Whether other hosts cannot reach it: an address or a name, with or without a port.

    >>> [is_loopback(each) for each in ("127.0.0.1:8000", "localhost", "[::1]:80", "10.0.0.1", "0.0.0.0", "::")]
    [True, True, True, False, False, False]
    """
    return bool(_LOOPBACK.match(address))


def beyond_loopback(addresses: Iterable[str]) -> list[str]:
    """Those that other hosts may reach.

    >>> beyond_loopback(["127.0.0.1:8000", "10.0.0.1:8000"])
    ['10.0.0.1:8000']
    """
    return [address for address in addresses if not is_loopback(address)]


def found_at(address: str, host: str) -> str:
    """Where one is found that listens at an address of a host whose own, in the fleet, is `host`; as a URL has it.

    >>> [found_at(each, "10.0.0.1") for each in ("127.0.0.1", "10.8.0.1", "0.0.0.0", "[::]")]
    ['127.0.0.1', '10.8.0.1', '10.0.0.1', '10.0.0.1']
    >>> [found_at(each, "10.0.0.1") for each in ("127.0.0.1:8000", "0.0.0.0:8000", "[::]:8000", "[fd00::2]:8000")]
    ['127.0.0.1:8000', '10.0.0.1:8000', '10.0.0.1:8000', '[fd00::2]:8000']
    >>> [found_at(each, "fd00::1") for each in ("[::]", "[::]:8000")]
    ['[fd00::1]', '[fd00::1]:8000']
    """
    if match := _WITH_PORT.fullmatch(address):
        return f"{found_at(match['address'], host)}:{match['port']}"
    found = host if address in _ANY else address
    return f"[{found}]" if ":" in found and not found.startswith("[") else found
