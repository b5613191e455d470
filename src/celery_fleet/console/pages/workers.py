"""The workers by pool, and one worker."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from .. import workers
from ..auth import Operator, Viewer
from ..fleet import FleetOf
from .rendering import redirect, render
from .states import worker_state

router = APIRouter()


@router.get("/ui/workers")
def workers_page(request: Request, fleet: FleetOf, _actor: Viewer) -> Response:
    return render(
        request,
        "workers.html",
        active="workers",
        pools=workers.pools(fleet),
        workers=workers.all_workers(fleet),
    )


@router.get("/ui/workers/{node}")
def worker_page(request: Request, fleet: FleetOf, _actor: Viewer, node: str) -> Response:
    found = workers.worker(fleet, node)
    return render(request, "worker.html", active="workers", worker=found, state=worker_state(found))


@router.post("/ui/workers/{target}/drain")
def drain(
    request: Request,
    fleet: FleetOf,
    actor: Operator,
    target: str,
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """`target`: a worker, or a pool: its workers on all hosts."""
    result = workers.drain(fleet, actor, target, reason)
    return redirect(request, _back(request, target), result.message, "good" if result.changed else "warn")


@router.post("/ui/workers/{target}/undrain")
def undrain(request: Request, fleet: FleetOf, actor: Operator, target: str) -> Response:
    result = workers.undrain(fleet, actor, target)
    return redirect(request, _back(request, target), result.message, "good" if result.changed else "warn")


def _back(request: Request, target: str) -> str:
    """The page whose form it was: the list or the worker's own."""
    if request.query_params.get("from") == "list" or "@" not in target:
        return str(request.url_for("workers_page").path)
    return str(request.url_for("worker_page", node=target).path)
