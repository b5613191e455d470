"""The queues, and one queue."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from .. import queues
from ..auth import Operator, Viewer
from ..fleet import FleetOf
from .rendering import redirect, render
from .states import queue_state

router = APIRouter()

ORDERS = {
    "name": lambda queue: queue.name,
    "waiting": lambda queue: -queue.waiting,
    "oldest": lambda queue: -(queue.oldest or 0),
    "failed": lambda queue: -queue.failed,
}


@router.get("/ui/queues")
def queues_page(request: Request, fleet: FleetOf, _actor: Viewer, order: str = "name") -> Response:
    order = order if order in ORDERS else "name"
    found = sorted(queues.all_queues(fleet), key=ORDERS[order])
    return render(
        request,
        "queues.html",
        active="queues",
        queues=found,
        order=order,
        orders=tuple(ORDERS),
    )


@router.get("/ui/queues/{name:path}")
def queue_page(request: Request, fleet: FleetOf, _actor: Viewer, name: str) -> Response:
    found = queues.queue(fleet, name)
    return render(request, "queue.html", active="queues", queue=found, state=queue_state(found))


@router.post("/ui/queues/{name:path}/pause")
def pause(
    request: Request,
    fleet: FleetOf,
    actor: Operator,
    name: str,
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    result = queues.pause(fleet, actor, name, reason)
    return redirect(request, _back(request, name), result.message, "good" if result.changed else "warn")


@router.post("/ui/queues/{name:path}/resume")
def resume(request: Request, fleet: FleetOf, actor: Operator, name: str) -> Response:
    result = queues.resume(fleet, actor, name)
    return redirect(request, _back(request, name), result.message, "good" if result.changed else "warn")


def _back(request: Request, name: str) -> str:
    """The page whose form it was: the list or the queue's own."""
    if request.query_params.get("from") == "list":
        return str(request.url_for("queues_page").path)
    return str(request.url_for("queue_page", name=name).path)
