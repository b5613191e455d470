"""The names of a task's parameters, in the order of its positional arguments."""

import inspect
from functools import lru_cache
from typing import Any

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@lru_cache(4096)
def parameters_of(task: Any) -> tuple[str, ...]:
    """Empty: there is no task, or it does not say."""
    try:
        found = inspect.signature(task.run).parameters.values() if task is not None else ()
    except (TypeError, ValueError):
        return ()
    return tuple(each.name for each in found if each.kind in _BY_PLACE)
