"""What every answer has: a request id, headers that keep browsers safe, and never a bare exception."""

import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import internal

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_SECURE_HEADERS = {"Cross-Origin-Opener-Policy": "same-origin"}
"""Over plain HTTP browsers complain that they cannot heed it."""


def request_id(told: str) -> str:
    """The client's own id when it can be put into a log as it is, else a new one."""
    return told if _SANE.fullmatch(told) else uuid4().hex


class Frame:
    """The outermost ASGI middleware."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app, self._clock = app, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        wanted = _HEADERS | _SECURE_HEADERS if scope["scheme"] == "https" else _HEADERS
        told = request_id(request.headers.get(REQUEST_ID, ""))
        scope.setdefault("state", {})["request_id"] = told
        started = False
        begun = self._clock()

        async def framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = told
                for name, value in wanted.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
                log.debug(
                    "%s %s %s in %.1f ms, request %s",
                    request.method, scope["path"], message["status"], (self._clock() - begun) * 1000, told,
                )  # fmt: skip
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except Exception as error:
            if started:
                raise
            await internal(request, error)(scope, receive, framed)
