"""The page of what operators did."""

import json
import re
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from celery_fleet.console.audits import entries
from celery_fleet.console.auth import Viewer
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.pages.rendering import redirect, render

router = APIRouter()

PATH = "/ui/audit"

_PAGE = 50
_ID = re.compile(r"\d{1,15}-\d{1,15}")
_PAGES = {"dlq": "/ui/dead-letters", "queue": "/ui/queues", "worker": "/ui/workers", "task": "/ui/tasks"}
_LISTS = {"schedule": "/ui/schedules", "silence": "/ui/alerts"}


@router.get(PATH)
def audit(request: Request, _actor: Viewer, fleet: FleetOf, before: str = "") -> Response:
    if before and not _ID.fullmatch(before):
        return redirect(request, PATH)
    return render(
        request,
        "audit.html",
        active="audit",
        found=entries(fleet, before, _PAGE),
        before=before,
        subject_page=subject_page,
        told=told,
    )


def subject_page(action: str, subject: str) -> str:
    """The page of what was acted on; empty: it has none.

    >>> subject_page("queue.pause", "email"), subject_page("dlq.bulk_retry", "all")
    ('/ui/queues/email', '')
    """
    kind, _, verb = action.partition(".")
    if kind in _LISTS:
        return _LISTS[kind]
    if kind not in _PAGES or verb.startswith(("bulk", "purge")) or (kind == "worker" and "@" not in subject):
        return ""
    return f"{_PAGES[kind]}/{quote(subject, safe='')}"


def told(value: Any) -> str:
    """A detail as people read it.

    >>> told("7c0e"), told(["a", "b"]), told({"a": 1})
    ('7c0e', 'a, b', '{"a": 1}')
    """
    if value is None or value == "":
        return "\N{EN DASH}"
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
