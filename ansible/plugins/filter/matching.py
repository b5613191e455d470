"""Which paths match one of several glob patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase


def matching(paths: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The paths that match one of the patterns.

    >>> matching(["/etc/celery-beat", "/opt/fleet"], ["/etc/celery-*", "/srv/*"])
    ['/etc/celery-beat']
    """
    patterns = list(patterns)
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]


class FilterModule:
    """`ansible_facts['fleet_files'] | matching(__flower_own)`."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"matching": matching}
