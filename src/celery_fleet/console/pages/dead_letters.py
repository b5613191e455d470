"""The pages of dead letters: the list, one letter, and what is done with one or with many.

What is done with many has a page before it, which shows what it would touch. Its token stands for just these
letters: when one of them has changed meanwhile, nothing is done, and the page shows how things are now.
"""

import shlex
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response

from celery_fleet.console import deadletters
from celery_fleet.console.auth import Operator, Viewer
from celery_fleet.console.errors import Conflict, Invalid, NotFound
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.models.dead_letters import BulkAction, BulkPreview, BulkResult
from celery_fleet.console.pages.letter_filters import PATH, Wanted, read
from celery_fleet.console.pages.rendering import link, redirect, render
from celery_fleet.console.pages.words import pretty, readable, sentence
from celery_fleet.store.deadletters import REASONS
from celery_fleet.topology.problem import counted

router = APIRouter()

_PAGE = 50


@router.get(PATH)
def dead_letters(
    request: Request, _actor: Viewer, fleet: FleetOf, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Response:
    wanted = read(request.url.query).list
    found = deadletters.listing(fleet, wanted, offset, _PAGE)
    if offset and not found.failed_tasks:
        return redirect(request, link(PATH, wanted.facets))
    return render(
        request,
        "dead_letters.html",
        active="dead-letters",
        filter=wanted,
        found=found,
        reasons=REASONS,
        path=PATH,
        here=link(PATH, wanted.facets, offset=offset or None),
    )


@router.get(PATH + "/preview")
def preview(
    request: Request, _actor: Operator, fleet: FleetOf, action: Literal["retry", "delete"] = "retry"
) -> Response:
    wanted = read(request.url.query)
    if not wanted.letters.ids and request.query_params.get("scope") != "all":
        return redirect(request, wanted.back, "No dead letter was ticked: tick some first.", "warn")
    found = deadletters.preview(fleet, wanted.letters)
    if not found.count:
        return redirect(request, wanted.back, "None of them is there any more.", "warn")
    return render(
        request,
        "dead_letters_preview.html",
        active="dead-letters",
        action=action,
        filter=wanted.letters,
        found=found,
        query=request.url.query,
        back=wanted.back,
        path=PATH,
    )


@router.post(PATH + "/bulk")
def bulk(  # noqa: PLR0917 - the fields of the form
    request: Request,
    actor: Operator,
    fleet: FleetOf,
    action: Annotated[BulkAction, Form()],
    token: Annotated[str, Form(max_length=200)],
    query: Annotated[str, Form(max_length=64_000)] = "",
) -> Response:
    """`query`: that of the preview."""
    wanted = read(query)
    try:
        done = deadletters.bulk(fleet, actor, action, wanted.letters, token)
    except Invalid as problem:
        return redirect(request, wanted.back, sentence(problem.detail), "bad")
    except Conflict:
        now = deadletters.preview(fleet, wanted.letters)
        return _stale(request, now, action, wanted, f"{PATH}/preview?{query}")
    return redirect(request, wanted.back, outcome(done), "warn" if done.refused else "good")


@router.get(PATH + "/{task_id:path}")
def dead_letter(request: Request, task_id: str, _actor: Viewer, fleet: FleetOf) -> Response:
    try:
        letter = deadletters.get(fleet, task_id)
    except NotFound:
        return render(request, "dead_letter_unknown.html", 404, active="dead-letters", task_id=task_id)
    return render(
        request,
        "dead_letter.html",
        active="dead-letters",
        letter=letter,
        positional=pretty(letter.args),
        named=pretty(letter.kwargs),
        message=readable(letter.message),
        cli=shlex.join(["fleet", "dlq", "show", letter.task_id]),  # ids are anybody's
        path=PATH,
    )


@router.post(PATH + "/{task_id:path}/retry")
def retry(
    request: Request, task_id: str, actor: Operator, fleet: FleetOf, back: Annotated[str, Form()] = ""
) -> Response:
    target = _inside(back) or page_of(task_id)
    try:
        done = deadletters.retry(fleet, actor, task_id)
    except NotFound as problem:
        return redirect(request, _inside(back) or PATH, sentence(problem.detail), "warn")
    except Conflict as problem:
        return redirect(request, target, sentence(problem.detail), "warn")
    return redirect(request, target, f"It runs again, as {done.new_task_id}.")


@router.post(PATH + "/{task_id:path}/delete")
def delete(
    request: Request, task_id: str, actor: Operator, fleet: FleetOf, back: Annotated[str, Form()] = ""
) -> Response:
    try:
        done = deadletters.delete(fleet, actor, task_id)
    except NotFound as problem:
        return redirect(request, _inside(back) or PATH, sentence(problem.detail), "warn")
    return redirect(request, _inside(back) or PATH, sentence(done.message))


def _inside(back: str) -> str:
    """The list or the task that a form says it is on; empty: elsewhere."""
    known = back.startswith((f"{PATH}?", "/ui/tasks/")) or back == PATH
    return back if known and back.isprintable() else ""


def page_of(task_id: str) -> str:
    """Where the page of a letter is; ids are anybody's."""
    return f"{PATH}/{quote(task_id, safe='')}"


def outcome(done: BulkResult) -> str:
    """What was done with many, in a sentence."""
    what = "deleted" if done.action == "delete" else "runs again" if done.done == 1 else "run again"
    text = f"{counted(done.done, 'dead letter')} {what}."
    if done.refused:
        text += f" {len(done.refused)} left alone, the first because {next(iter(done.refused.values()))}."
    return text


def _stale(
    request: Request, now: BulkPreview, action: BulkAction, wanted: Wanted, preview_page: str
) -> Response:
    """After a second click, a reload, or somebody else's action: what there is still to do, if anything."""
    if now.count == (now.skipped if action == "retry" else 0):
        done = "retried" if action == "retry" else "deleted"
        return redirect(
            request, wanted.back, f"They were all {done} already; nothing was done twice.", "warn"
        )
    text = "Some were retried or deleted since you looked, so nothing was done. This is how it is now."
    return redirect(request, preview_page, text, "warn")
