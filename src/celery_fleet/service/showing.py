"""What of the arguments of the tasks of this process may be shown, by the rules of its topology."""

from typing import Any

from celery._state import get_current_task

from celery_fleet.policy.parameters import parameters_of
from celery_fleet.topology.discretion import Discretion, Shown


class _Rules:
    followed: Discretion | None = None


def follow(rules: Discretion) -> None:
    """From now on."""
    _Rules.followed = rules


def rules() -> Discretion | None:
    """Those that are followed."""
    return _Rules.followed


def shown(task: Any, request: Any) -> Shown:
    """The call of a request, be it the worker's or the context of a task that runs."""
    if _Rules.followed is None:
        return Shown((), {})
    found: Shown | None = getattr(request, "fleet_shown", None)
    if found is None:
        found = _shown(_Rules.followed, task, request)
        request.fleet_shown = found
    return found


def discreet(text: str, request_of: Any = None) -> str:
    """A text without what is hidden of the task that it tells of, (task, request), else of the one that runs."""
    if _Rules.followed is None:
        return text
    if request_of is None:
        task = get_current_task()
        if not (task and task.request.id):
            return text
        request_of = task, task.request
    return shown(*request_of).scrub(text)


def _shown(followed: Discretion, task: Any, request: Any) -> Shown:
    queue = str((request.delivery_info or {}).get("routing_key") or "")
    return followed.call(
        task.name, request.args or (), request.kwargs or {}, queue=queue, names=parameters_of(task)
    )
