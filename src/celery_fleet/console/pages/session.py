"""Logging in with a key of the console, and out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from ..auth import Actor, begin, end, log_in, own_form, session_of
from .rendering import redirect, render

router = APIRouter()

_HOME = "/ui"


def _inside(target: str) -> str:
    """A page of the dashboard to go to; anything else is its home.

    >>> _inside("/ui/tasks?state=FAILURE"), _inside("//elsewhere.example"), _inside("/ui/logout")
    ('/ui/tasks?state=FAILURE', '/ui', '/ui')
    """
    path = target.partition("?")[0]
    below = path == _HOME or path.startswith(f"{_HOME}/")
    return target if below and path not in ("/ui/login", "/ui/logout") and target.isprintable() else _HOME


@router.get("/ui/login")
def login_page(request: Request, next: str = _HOME) -> Response:
    if session_of(request):
        return redirect(request, _inside(next))
    return render(request, "login.html", next=_inside(next), message="")


@router.post("/ui/login")
def login(request: Request, key: Annotated[str, Form()], next: Annotated[str, Form()] = _HOME) -> Response:
    session = log_in(request, key.strip())
    if session is None:
        return render(
            request,
            "login.html",
            status=401,
            next=_inside(next),
            message="No such key. Keys are long: copy all of it, without quotes.",
        )
    response = redirect(request, _inside(next))
    begin(request, response, session)
    return response


@router.post("/ui/logout")
async def logout(request: Request, _actor: Annotated[Actor, Depends(own_form)]) -> Response:
    response = redirect(request, "/ui/login")
    end(response)
    return response
