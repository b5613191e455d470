"""Cancelled tasks: a mark in Redis that every claim looks for, so that no restart forgets it."""

import time
from collections.abc import Collection
from typing import Any

from .keys import Keys

KEPT = 7 * 86_400
"""Seconds that a mark lasts."""

_MOST = 500


def cancel(client: Any, ids: Collection[str], keys: Keys = Keys()) -> None:  # noqa: B008
    """Marks tasks: they end as REVOKED when a worker takes them. What runs already needs a revoke as well.

    `client`: redis-py's, for the broker's database.
    """
    now = time.time()
    wanted = list(ids)
    with client.pipeline(transaction=False) as pipe:
        for start in range(0, len(wanted), _MOST):
            pipe.zadd(keys.cancelled, dict.fromkeys(wanted[start : start + _MOST], now))
        pipe.zremrangebyscore(keys.cancelled, "-inf", now - KEPT)
        pipe.execute()


def cancelled(client: Any, ids: Collection[str], keys: Keys = Keys()) -> set[str]:  # noqa: B008
    """Those of the tasks that are marked."""
    wanted = list(ids)
    if not wanted:
        return set()
    scores = client.zmscore(keys.cancelled, wanted)
    return {task for task, score in zip(wanted, scores, strict=True) if score is not None}


def forget(client: Any, ids: Collection[str], keys: Keys = Keys()) -> None:  # noqa: B008
    """Removes the marks: the tasks run when they are taken."""
    wanted = list(ids)
    if wanted:
        client.zrem(keys.cancelled, *wanted)
