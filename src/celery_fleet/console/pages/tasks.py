"""The pages of tasks: the list that is searched, and one task in full."""

import shlex
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from celery_fleet.console.auth import Operator, Viewer
from celery_fleet.console.errors import Conflict, Invalid, NotFound
from celery_fleet.console.fleet import Fleet, FleetOf
from celery_fleet.console.models.common import moment, now
from celery_fleet.console.models.tasks import TaskQuery
from celery_fleet.console.pages.rendering import redirect, render
from celery_fleet.console.pages.task_filters import PATH, RANGES, TaskFilters
from celery_fleet.console.pages.timeline import OVER, steps
from celery_fleet.console.pages.words import pretty, sentence
from celery_fleet.console.tasks.cancel import cancel as cancel_task
from celery_fleet.console.tasks.search import search
from celery_fleet.console.tasks.task import look_up

router = APIRouter()

_PAGE = 50

TABS = (
    ("", "All"),
    ("pending", "Waiting"),
    ("received", "Received"),
    ("processing", "Running"),
    ("retry", "Retrying"),
    ("completed", "Succeeded"),
    ("failed", "Failed"),
    ("cancelled", "Cancelled"),
    ("ignored", "Ignored"),
)
"""State, and what the tab says."""


@router.get(PATH)
def tasks(request: Request, _actor: Viewer, fleet: FleetOf) -> Response:
    filters = TaskFilters.read(request.query_params)
    if _is_id(filters.text) and _known(fleet, filters.text):
        return redirect(request, page_of(filters.text))
    since, until = (moment(at) for at in filters.window(datetime.now(UTC).timestamp()))
    asked = {name: getattr(filters, name)[:255] for name in ("state", "name", "queue", "worker", "text")}
    try:
        found = search(
            fleet, TaskQuery(**asked, since=since, until=until, cursor=filters.cursor[:400], limit=_PAGE)
        )
    except Invalid:  # a cursor of another time
        return redirect(
            request, filters.url(), "That page is not there any more: these are the newest.", "warn"
        )
    return render(
        request,
        "tasks.html",
        active="tasks",
        filters=filters,
        found=found,
        tabs=TABS,
        ranges=RANGES,
        queues=list(fleet.topology.queues),
        names=sorted(fleet.catalogue.all()),
        workers=sorted(presence.node for presence in fleet.presences.all()),
    )


@router.get(PATH + "/{task_id:path}")
def task(request: Request, task_id: str, _actor: Viewer, fleet: FleetOf) -> Response:
    try:
        found = look_up(fleet, task_id)
    except NotFound:
        journal = shlex.join(["journalctl", f"TASK_ID={task_id}"])
        return render(request, "task_unknown.html", 404, active="tasks", task_id=task_id, journal=journal)
    return render(
        request,
        "task.html",
        active="tasks",
        task=found,
        over=found.state in OVER,
        result=pretty(found.result),
        steps=steps(found, now()),
        cli=shlex.join(["fleet", "tasks", "show", found.task_id]),  # ids are anybody's
    )


@router.post(PATH + "/{task_id:path}/cancel")
def cancel(request: Request, task_id: str, actor: Operator, fleet: FleetOf) -> Response:
    try:
        done = cancel_task(fleet, actor, task_id, terminate=True)
    except (Conflict, Invalid, NotFound) as problem:
        return redirect(request, page_of(task_id), sentence(problem.detail), "warn")
    return redirect(request, page_of(task_id), sentence(done.message))


def page_of(task_id: str) -> str:
    """Where the page of a task is; ids are anybody's."""
    return f"{PATH}/{quote(task_id, safe='')}"


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _known(fleet: Fleet, task_id: str) -> bool:
    try:
        look_up(fleet, task_id)
    except NotFound:
        return False
    return True
