"""Queues and routes of the topology, as Celery wants them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from celery import Celery
from celery.app.routes import prepare
from kombu.entity import Exchange, Queue

from celery_fleet.topology.model import Topology

from .priority import broker_priority


def task_queues(topology: Topology) -> list[Queue]:
    """A queue, with a direct exchange of its own, for each queue of the topology."""
    return [_queue(name) for name in topology.queues]


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name)  # type: ignore[no-untyped-call]


class Router:
    """Gives a task its queue and its priority.

    The queue: the topology's routes decide, then the app's own, then it is the default queue. The priority: a
    task that another task sends inherits the sender's, else its route or queue says. What the caller of
    `apply_async` gives wins over all of it; a priority is then Celery's own, see `broker_priority`.
    """

    def __init__(self, app: Celery, topology: Topology, own_routes: object = None) -> None:
        self._app = app
        self._topology = topology
        self._own_routes = prepare(own_routes)

    def __call__(
        self,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        task: object = None,
    ) -> dict[str, Any]:
        route = self._route(name, args, kwargs, options, task)
        inherited = self._sender_priority()
        if inherited is not None:
            route["priority"] = inherited
        elif route.get("priority") is None:
            queue = options.get("queue") or route["queue"]
            route["priority"] = self._priority(name, getattr(queue, "name", queue))
        return route

    def _route(self, name: str, *call: Any) -> dict[str, Any]:
        default = {"queue": self._topology.default_queue}
        if any(fnmatchcase(name, route.task) for route in self._topology.routes):
            return {"queue": self._topology.settings_for(name).queue}
        for own in self._own_routes:
            route = self._app.amqp.router.query_router(own, name, *call)
            if route:
                return {"queue": route} if isinstance(route, str) else default | dict(route)
        return default

    def _priority(self, name: str, queue: str) -> int:
        settings = self._topology.settings_for(name)
        if settings.queue != queue and queue in self._topology.queues:
            settings = self._topology.queues[queue].settings
        return broker_priority(settings.priority)

    def _sender_priority(self) -> int | None:
        # Celery's task_inherit_parent_priority comes after the routes, and leaves alone what has a priority.
        sender = self._app.current_worker_task
        return (sender.request.delivery_info or {}).get("priority") if sender else None
