"""Asks the workers about themselves, and does not wait long for those that do not answer."""

from collections.abc import Sequence
from typing import Any

from celery import Celery

from .roster import Answers


def ask(app: Celery, nodes: Sequence[str] | None, timeout: float, active: bool = True) -> dict[str, Answers]:
    """What each worker that answers says of itself.

    `nodes`: those that are known to be alive, so that the answer is there as soon as all of them have answered;
    None: whoever answers within the `timeout` in seconds.
    """
    if nodes is not None and not nodes:
        return {}
    stats = _inspect(app, nodes, timeout, "stats")
    # Who has answered once will do so again; the others are not waited for any more.
    answering = list(stats)
    if not answering:
        return {}
    queues = _inspect(app, answering, timeout, "active_queues")
    running = _inspect(app, answering, timeout, "active") if active else {}
    return {
        node: Answers(
            stats=said,
            active=tuple(running.get(node, ())),
            queues=tuple(queue["name"] for queue in queues.get(node, ())),
        )
        for node, said in stats.items()
    }


def _inspect(app: Celery, nodes: Sequence[str] | None, timeout: float, what: str) -> dict[str, Any]:
    inspector = app.control.inspect(destination=None if nodes is None else list(nodes), timeout=timeout)
    answer = getattr(inspector, what)() or {}
    return {node: said for node, said in answer.items() if not (isinstance(said, dict) and "error" in said)}
