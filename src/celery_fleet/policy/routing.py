"""Queues and routes of the topology, as Celery wants them."""

from collections.abc import Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from celery import Celery
from celery.app.routes import MapRoute, prepare
from celery.utils.saferepr import saferepr
from kombu.entity import Exchange, Queue

from celery_fleet.topology.discretion import Discretion
from celery_fleet.topology.model import TaskSettings, Topology

from .parameters import parameters_of
from .priority import HIGHEST, LOWEST, SCALES, Scale, broker_priority


def task_queues(topology: Topology) -> list[Queue]:
    """A queue, with a direct exchange of its own, for each queue of the topology."""
    return [_queue(name) for name in topology.queues]


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name)  # type: ignore[no-untyped-call]


_REPR_LIMIT = 1024


class Router:
    """Gives a task its queue and its priority, and the message what people may see of the arguments.

    The queue: what the caller of `apply_async` names, then the topology's routes, then the app's own, then it is
    the default queue. The priority: what the caller gives, then that of the task which sends this one, then
    what the app's own route gives, then the topology's route or queue says.

    What the app's code gives is on `scale`, see `priority`. This is the one place where it becomes what the
    message carries.
    """

    def __init__(
        self, app: Celery, topology: Topology, own_routes: object = None, scale: Scale = SCALES["fleet"]
    ) -> None:
        self._app = app
        self._topology = topology
        self._discretion = Discretion(topology)
        self._own_routes = prepare(own_routes)
        self._scale = scale

    def __call__(
        self,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: MutableMapping[str, Any],
        task: object = None,
    ) -> dict[str, Any]:
        route = self._route(name, args, kwargs, options, task)
        queue = options.get("queue") or route.get("queue")
        self._hide(name, args, kwargs, options, str(getattr(queue, "name", queue)))
        # Celery lets options win over the route: taken out, so that what the route says now is final.
        given = options.pop("priority", None)
        inherited = self._sender_priority() if given is None else None
        if inherited is not None:
            route["priority"] = inherited
        elif given is not None or route.get("priority") is not None:
            route["priority"] = self._translated(name, route["priority"] if given is None else given)
        else:
            queue = options.get("queue") or route["queue"]
            route["priority"] = self._priority(name, getattr(queue, "name", queue))
        return route

    def settings_for(self, name: str) -> TaskSettings:
        """How a task is run: as its route says, else as the queue that the app's own settings route it to."""
        queues = self._topology.queues
        if not self._is_routed(name):
            # Functions may look at the arguments, which only a call has.
            for own in (own for own in self._own_routes if isinstance(own, MapRoute)):
                queue = (own(name) or {}).get("queue")
                found = queues.get(str(getattr(queue, "name", queue)))
                if found:
                    return found.settings
        return self._topology.settings_for(name)

    def _hide(self, name: str, args: Any, kwargs: Any, options: MutableMapping[str, Any], queue: str) -> None:
        names = parameters_of(self._app.tasks.get(name))
        shown = self._discretion.call(name, args or (), kwargs or {}, queue=queue, names=names)
        if shown.hides:
            options["argsrepr"] = saferepr(tuple(shown.args), _REPR_LIMIT)
            options["kwargsrepr"] = saferepr(shown.kwargs, _REPR_LIMIT)

    def _is_routed(self, name: str) -> bool:
        return any(fnmatchcase(name, route.task) for route in self._topology.routes)

    def _route(self, name: str, *call: Any) -> dict[str, Any]:
        default = {"queue": self._topology.default_queue}
        if self._is_routed(name):
            return {"queue": self._topology.settings_for(name).queue}
        for own in self._own_routes:
            route = self._app.amqp.router.query_router(own, name, *call)
            if route:
                return {"queue": route} if isinstance(route, str) else default | dict(route)
        return default

    def _translated(self, name: str, priority: int) -> int:
        if name.startswith("celery."):  # Celery sends some of its own with 0, which no scale of people has
            priority = min(max(int(priority), LOWEST), HIGHEST)
        try:
            return self._scale.to_message(int(priority))
        except ValueError as error:
            raise ValueError(
                f"{name}: {error}; set CELERY_TASK_PRIORITY_SCALE=celery if the app counts from 0 (first) to 9"
            ) from error

    def _priority(self, name: str, queue: str) -> int:
        settings = self._topology.settings_for(name)
        if settings.queue != queue and queue in self._topology.queues:
            settings = self._topology.queues[queue].settings
        return broker_priority(settings.priority)

    def _sender_priority(self) -> int | None:
        # Celery's own task_inherit_parent_priority would overrule what a signature says, and knows no scale.
        sender = self._app.current_worker_task
        return (sender.request.delivery_info or {}).get("priority") if sender else None
