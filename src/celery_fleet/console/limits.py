"""Bounds on what one client may ask for: requests a second, and bytes of a body."""

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Problem, answer

_MOST_CLIENTS = 10_000
_FREE = ("/static/", "/health", "/metrics")
"""What health checks, scrapes and browsers ask for often, and costs little."""


class Buckets:
    """A token bucket for each client: `rate` tokens a second flow in, `burst` fit. Of one event loop."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(1.0, burst), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Takes tokens. 0: they were there; else nothing is taken, and there are enough in so many seconds."""
        if not self._rate:
            return 0.0
        now = self._clock()
        left = self._now(client, now)
        missing = min(cost, self._burst) - left
        if missing <= 0:
            left -= cost
        self._keep(client, left, now)
        return max(0.0, missing / self._rate)

    def fine(self, client: str, cost: float) -> None:
        """Takes tokens whether they are there or not: the client waits the longer."""
        if self._rate:
            now = self._clock()
            self._keep(client, max(self._now(client, now) - cost, -self._burst), now)

    def _now(self, client: str, now: float) -> float:
        left, at = self._left.get(client, (self._burst, now))
        return min(self._burst, left + (now - at) * self._rate)

    def _keep(self, client: str, left: float, now: float) -> None:
        self._left[client] = (left, now)
        self._left.move_to_end(client)
        # Who has not come for longest has a full bucket by now, or will have.
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)


def client_of(scope: Scope) -> str:
    """Who is limited: the address that the server knows of, which a trusted proxy may have told."""
    client = scope.get("client")
    return str(client[0]) if client else "local"


class RateLimit:
    """ASGI middleware: 429 with Retry-After for who asks too often."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app, self._buckets = app, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_FREE):
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(client_of(scope))
        if not wait:
            await self._app(scope, receive, send)
            return
        seconds = max(1, round(wait + 0.5))
        problem = Problem(
            f"too many requests: come back in {seconds} s",
            status=429,
            code="too_many_requests",
            headers={"Retry-After": str(seconds)},
        )
        await answer(Request(scope, receive), problem)(scope, receive, send)


class BodyLimit:
    """ASGI middleware: 413 for a body that is longer than `limit` bytes, whatever its headers say."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        told = request.headers.get("content-length", "0")
        if not told.isascii() or not told.isdigit() or int(told) > self._limit:
            await answer(request, self._too_large())(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, counting, send)

    def _too_large(self) -> Problem:
        return Problem(
            f"the body is longer than {self._limit} bytes: put large data where the task can fetch it, and send "
            "its address",
            status=413,
            code="too_large",
            headers={"Connection": "close"},
        )
