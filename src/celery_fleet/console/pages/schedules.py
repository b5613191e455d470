"""The page of what Beat starts by the clock."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from celery_fleet.console.auth import Operator, Viewer
from celery_fleet.console.errors import Problem
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.pages.rendering import redirect, render
from celery_fleet.console.pages.words import sentence
from celery_fleet.console.schedules import run_now
from celery_fleet.console.schedules import schedules as read_schedules

router = APIRouter()

PATH = "/ui/schedules"


@router.get(PATH)
def schedules(request: Request, _actor: Viewer, fleet: FleetOf) -> Response:
    return render(request, "schedules.html", active="schedules", found=read_schedules(fleet))


@router.post(PATH + "/{name:path}/run")
def run(
    request: Request, name: str, actor: Operator, fleet: FleetOf, token: Annotated[str, Form(max_length=200)]
) -> Response:
    """The token is of the page that was clicked: a second click or a reload runs nothing."""
    try:
        done = run_now(fleet, actor, name, token)
    except Problem as problem:
        if problem.status_code >= 500:
            raise
        return redirect(request, PATH, sentence(problem.detail), "warn")
    if done.repeated:
        return redirect(request, PATH, f"{name} was started already, as {done.task_id}: it ran once.", "warn")
    return redirect(request, PATH, f"{name} was started, as {done.task_id}.")
