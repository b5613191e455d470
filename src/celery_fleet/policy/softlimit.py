"""Soft time limits under gevent, where Celery has none: it raises them by a signal to the process of a task."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded


def under_gevent() -> bool:
    """Whether gevent has taken the place of the standard library's sockets."""
    return "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("socket")


def softly_limited(run: Callable[..., Any], find_task: Callable[[], Any]) -> Callable[..., Any]:
    """`run`, which gets SoftTimeLimitExceeded where it next waits for something once its time is over."""
    timeout = sys.modules["gevent"].Timeout

    @wraps(run)
    def limited(*args: Any, **kwargs: Any) -> Any:
        task = find_task()
        limit = (task.request.timelimit or (None, None))[1] or task.soft_time_limit
        if task.request.called_directly or not limit:
            return run(*args, **kwargs)
        with timeout(limit, SoftTimeLimitExceeded(limit)):
            return run(*args, **kwargs)

    return limited
