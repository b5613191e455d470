"""The result backend of a process that looks results up and waits for none: it subscribes to nothing.

Celery's own subscribes to the result of each member of a group that it sends, and never lets go of those that nobody
fetches; a console sends for months.
"""

from typing import Any

from celery_fleet.delivery import results


class _Patient:
    """Mixed into a Redis backend."""

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:  # noqa: ARG002
        return result

    def add_pending_results(self, results: Any, weak: bool = False) -> list[Any]:  # noqa: ARG002
        return list(results)

    def remove_pending_result(self, result: Any) -> Any:
        return result


class RedisBackend(_Patient, results.RedisBackend):
    """For redis:// and rediss://."""


class SentinelBackend(_Patient, results.SentinelBackend):
    """For sentinel://."""


_SCHEMES = {"redis": RedisBackend, "rediss": RedisBackend, "sentinel": SentinelBackend}


def backend_for(url: str) -> str | None:
    """For `backend_cls` of an app, whatever else its environment says; None: Celery's choice is right.

    >>> backend_for("redis://10.0.0.1/1")
    'celery_fleet.console.results:RedisBackend+redis://10.0.0.1/1'
    """
    cls = _SCHEMES.get(url.partition("://")[0])
    return f"{cls.__module__}:{cls.__name__}+{url}" if cls else None
