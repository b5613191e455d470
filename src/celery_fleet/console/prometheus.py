"""What the console asks Prometheus: bounded in time, size and number, so that a slow one holds nobody else up."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from .alerts import monitor_client
from .errors import Unavailable

if TYPE_CHECKING:
    from .fleet import Fleet

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that Prometheus has for one answer."""

NOT_CONFIGURED = "no Prometheus is configured: the variable CONSOLE_PROMETHEUS_URL names it"

Labels = Mapping[str, str]

_AT_ONCE = 4
"""Questions that one process asks at a time."""
_WAITING = 12
"""Requests of one process that may wait for an answer: the threads that are left serve everything else."""
_LARGEST = 16 * 1024 * 1024
"""Bytes of an answer."""
_REST = 3.0
"""Seconds in which one that did not answer is not asked again."""

_asking = threading.BoundedSemaphore(_AT_ONCE)
_present = threading.BoundedSemaphore(_WAITING)
_away: dict[str, tuple[float, str]] = {}


class Away(Exception):  # noqa: N818 - it says what was found
    """Prometheus cannot be asked; one line says why."""


@contextmanager
def admitted() -> Iterator[None]:
    """Around whatever may wait for Prometheus. Raises Unavailable when too many wait already."""
    if not _present.acquire(blocking=False):
        raise Unavailable("too many wait for Prometheus: ask again in a moment", code="busy")
    try:
        yield
    finally:
        _present.release()


def instant(fleet: "Fleet", expr: str, at: float) -> list[tuple[Labels, float]]:
    """Each series' labels and its value at that time. Raises Away."""
    found = _ask(fleet, "query", {"query": expr, "time": f"{at:.3f}"})
    return [(each["metric"], float(each["value"][1])) for each in found["result"]]


def over_time(
    fleet: "Fleet", expr: str, start: int, end: int, step: int
) -> list[tuple[Labels, dict[int, float]]]:
    """Each series' labels, and its values by their times. Raises Away."""
    asked = {"query": expr, "start": str(start), "end": str(end), "step": str(step)}
    found = _ask(fleet, "query_range", asked)
    return [
        (each["metric"], {int(at): float(value) for at, value in each["values"]}) for each in found["result"]
    ]


def label_values(fleet: "Fleet", series: str, label: str, start: float) -> list[str]:
    """The values that this label has had since then. Raises Away."""
    found = _ask(fleet, f"label/{label}/values", {"match[]": series, "start": f"{start:.0f}"})
    return [str(each) for each in found]


def _ask(fleet: "Fleet", path: str, asked: Mapping[str, str]) -> Any:
    url = fleet.settings.prometheus_url
    if not url:
        raise Away(NOT_CONFIGURED)
    until, reason = _away.get(url, (0.0, ""))
    if time.monotonic() < until:
        raise Away(reason)
    if not _asking.acquire(timeout=PATIENCE):
        raise Away(f"Prometheus at {url} is too slow")
    try:
        return _answer(monitor_client(url, fleet.settings, PATIENCE), path, asked)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        told = f"Prometheus at {url} cannot be read: {type(error).__name__}: {error}".rstrip(": ")
        log.warning("%s", told)
        if isinstance(error, httpx.TransportError):
            _away[url] = (time.monotonic() + _REST, told)
        raise Away(told) from None
    finally:
        _asking.release()


def _answer(client: httpx.Client, path: str, asked: Mapping[str, str]) -> Any:
    """The data of an answer. Raises httpx.HTTPError, ValueError, KeyError."""
    # It gives up by itself what nobody waits for any more.
    limits = {"timeout": f"{PATIENCE:g}s"} if path.startswith("query") else {}
    with client.stream("GET", f"/api/v1/{path}", params={**asked, **limits}) as response:
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _LARGEST:
                raise ValueError(f"its answer is larger than {_LARGEST // 1024 // 1024} MiB")
    if response.is_error:
        raise ValueError(
            f"it answers {response.status_code}: {content[:300].decode(errors='replace').strip()}"
        )
    told = json.loads(content)
    return told["data"]
