"""From data to pages: the templates, what all of them are given, flash messages and error pages."""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..auth import Actor, actor_of, csrf_of
from ..errors import Unauthenticated
from . import text
from .assets import address
from .states import queue_state, worker_state

_FLASH, _THEME = "fleet_flash", "fleet_theme"
_FLASH_SECONDS = 60
_FLASH_LENGTH = 600

NAV = (
    # key, label, path, icon, the counter beside it, its tone, the key after g
    ("overview", "Overview", "/ui", "gauge", "", "", "o"),
    ("queues", "Queues", "/ui/queues", "layers", "counts.waiting", "", "q"),
    ("workers", "Workers", "/ui/workers", "cpu", "counts.workers_alive", "", "w"),
    ("tasks", "Tasks", "/ui/tasks", "list", "counts.running", "", "t"),
    ("dead-letters", "Dead letters", "/ui/dead-letters", "skull", "counts.dead", "bad", "d"),
    ("schedules", "Schedules", "/ui/schedules", "clock", "counts.schedules_late", "warn", "s"),
    ("metrics", "Metrics", "/ui/metrics", "chart", "", "", "m"),
    ("alerts", "Alerts", "/ui/alerts", "bell", "counts.alerts", "bad", "a"),
    ("audit", "Audit", "/ui/audit", "book", "", "", "u"),
)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Flash:
    """What an action led to, shown once on the next page. `tone`: good, warn or bad."""

    tone: str
    text: str


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ago": lambda value: text.ago(value, time.time()),
        "bytes": text.size,
        "duration": text.duration,
        "epoch": text.epoch,
        "iso": text.iso,
        "lasting": lambda value: text.lasting(value, time.time()),
        "number": text.number,
        "path": _at_path,
        "percent": text.percent,
        "rate": text.rate,
        "short": text.short,
        "when": text.when,
    }
    found.globals |= {
        "static": address,
        "spark_paths": text.spark,
        "queue_state": queue_state,
        "worker_state": worker_state,
        "now": time.time,
        "link": link,
        "nav": NAV,
    }
    return found


def _at_path(value: Any, path: str) -> Any:
    """What is at `counts.waiting` in an object, or None."""
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def link(path: str, parameters: Mapping[str, Any] | None = None, /, **changes: Any) -> str:
    """A path with a query; empty and None are left out.

    >>> link("/ui/tasks", {"state": "FAILURE", "page": 2}, page=None, text="a b")
    '/ui/tasks?state=FAILURE&text=a+b'
    """
    query = {
        key: value for key, value in {**(parameters or {}), **changes}.items() if value not in (None, "")
    }
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


_TEMPLATES = _environment()


def render(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """The page. With `?fragment=1` only its content, for scripts that bring an open page up to date."""
    fragment = request.query_params.get("fragment") == "1"
    flash = None if fragment else _read_flash(request)
    hub = getattr(request.app.state, "hub", None)
    theme = request.cookies.get(_THEME)
    given = {
        "request": request,
        "layout": "fragment.html" if fragment else "base.html",
        "actor": _actor(request),
        "csrf": csrf_of(request),
        "latest": getattr(hub, "latest", None),
        "fleet_name": getattr(getattr(hub, "latest", None), "fleet", None) or "fleet",
        "flash": flash,
        "theme": theme if theme in ("light", "dark") else "",
        "active": "",
    }
    page = _TEMPLATES.get_template(template).render(given | context)
    response = HTMLResponse(page, status_code=status)
    _protect(response)
    if flash:
        response.delete_cookie(_FLASH, path="/ui")
    return response


def _actor(request: Request) -> Actor | None:
    try:
        return actor_of(request)
    except Unauthenticated:
        return None


def redirect(request: Request, to: str, message: str = "", tone: str = "good") -> RedirectResponse:
    """What follows a form: another page, which shows the message once."""
    response = RedirectResponse(to, status_code=HTTPStatus.SEE_OTHER)
    if message:
        content = json.dumps([tone, message[:_FLASH_LENGTH]]).encode()
        response.set_cookie(
            _FLASH,
            urlsafe_b64encode(content).decode(),
            max_age=_FLASH_SECONDS,
            path="/ui",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return response


def _read_flash(request: Request) -> Flash | None:
    """The message that the action before left; nothing when somebody else wrote the cookie."""
    try:
        tone, message = json.loads(urlsafe_b64decode(request.cookies.get(_FLASH, "")))
        return Flash(str(tone), str(message)[:_FLASH_LENGTH])
    except (NotBase64, ValueError, TypeError):
        return None


def _protect(response: Response) -> None:
    """What a browser may do with a page."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"


@dataclass(frozen=True)
class Lesson:
    """What an error means to the one who sees it, and what may be done about it."""

    title: str
    text: str
    command: str = ""


_LESSONS = {
    HTTPStatus.FORBIDDEN: Lesson(
        "Not with this key", "Your key may look, but not act. An operator's key can do this."
    ),
    HTTPStatus.NOT_FOUND: Lesson("Nothing is here", ""),
    HTTPStatus.CONFLICT: Lesson("Something changed meanwhile", "Go back, look again, and decide anew."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Lesson(
        "Too much at once", "The form is larger than the console accepts."
    ),
    HTTPStatus.TOO_MANY_REQUESTS: Lesson("Slower, please", "Too many requests came from you. Wait a moment."),
    HTTPStatus.SERVICE_UNAVAILABLE: Lesson(
        "Redis does not answer",
        "The console shows what Redis knows of the fleet. Running tasks go on, and workers connect again by themselves. "
        "This page tries again every few seconds.",
        "systemctl status redis-server",
    ),
}
_OTHERWISE = Lesson(
    "That did not work", "The console's log has the reason under the id below.", "fleet status"
)


def error(
    request: Request, status: int, detail: str, request_id: str = "", errors: Iterable[Any] = ()
) -> HTMLResponse:
    """A page that says what went wrong, what it means, and what to do next."""
    lesson = _LESSONS.get(HTTPStatus(status), _OTHERWISE)
    return render(
        request,
        "error.html",
        status,
        status_code=status,
        lesson=lesson,
        detail=detail,
        request_id=request_id,
        errors=list(errors),
    )
