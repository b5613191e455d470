"""The overview as a stream of events: one look for all who watch, and nothing lost when a stream is cut off."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from .alerts import active, alerts
from .errors import Unavailable, without_redis
from .models.overview import Overview
from .overview import overview

if TYPE_CHECKING:
    from .fleet import Fleet

log = logging.getLogger(__name__)

PERIOD = 2.0
"""Seconds between two looks, as long as somebody watches."""

IDLE_PERIOD = 10.0
"""The same when nobody does: the charts go on."""

HEARTBEAT = 15.0
"""Seconds after which a stream without news says that it is still there."""

LONGEST = 900.0
"""Seconds after which a stream ends: who goes on must still have a key."""

LIMIT = 500
"""Streams of one process; who comes later looks every few seconds instead."""

RETRY = 2000
"""Milliseconds after which a browser comes back when its stream was cut off."""

_ALERTS_PERIOD = 15.0
_FAILED = "The console has failed; its log has the reason."


class Hub:
    """Looks at the fleet, and tells all streams of this process. Its methods belong to the event loop."""

    def __init__(self, fleet: "Fleet", period: float = PERIOD, limit: int = LIMIT) -> None:
        self.latest: Overview | None = None
        self.alerts: int | None = None
        """How many fire; None: not known."""
        self.clients = 0
        self._fleet = fleet
        self._period = period
        self._limit = limit
        self._tasks: list[asyncio.Task[None]] = []
        self._message = b""
        self._id = ""
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        """Begins to look."""
        self._tasks = [asyncio.create_task(self._look_on()), asyncio.create_task(self._watch_alerts())]

    async def close(self) -> None:
        """Ends all streams at once. It may be called again."""
        self._closed = True
        self._news.set()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def admit(self) -> None:
        """Raises Unavailable when there are too many streams, or no more news."""
        if self._closed or self.clients >= self._limit:
            raise Unavailable(
                "no more streams here: look at /api/v1/overview every few seconds instead",
                code="too_many_streams",
                headers={"Retry-After": "10"},
            )

    async def stream(self, last_id: str = "") -> AsyncIterator[bytes]:
        """The bytes of one stream, which begins with what is known unless its reader has just that (`last_id`)."""
        end = time.monotonic() + LONGEST
        self.clients += 1
        try:
            self._wanted.set()
            yield f"retry: {RETRY}\n\n".encode()
            while not self._closed and time.monotonic() < end:
                news = self._news
                if self._message and self._id != last_id:
                    last_id = self._id
                    yield self._message
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await news.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.clients -= 1

    async def _look_on(self) -> None:
        while True:
            begun = time.monotonic()
            self._wanted.clear()
            try:
                self.latest = await asyncio.to_thread(overview, self._fleet, self.alerts)
                self._tell("overview", f'{{"overview": {self.latest.model_dump_json()}}}')
            except (redis.RedisError, OSError) as error:
                problem = without_redis(error)
                log.warning("The fleet cannot be looked at: %s", problem.detail)
                self._tell("trouble", json.dumps({"detail": problem.detail, "code": problem.code}))
            except Exception:  # it goes on with the next look
                log.exception("The fleet cannot be looked at")
                self._tell("trouble", json.dumps({"detail": _FAILED, "code": "internal"}))
            await self._rest(begun)

    async def _rest(self, begun: float) -> None:
        """Until the next look: it is soon when somebody watches, or begins to."""
        await asyncio.sleep(max(0.1, begun + self._period - time.monotonic()))
        if not self.clients:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_PERIOD - self._period):
                    await self._wanted.wait()

    async def _watch_alerts(self) -> None:
        while self._fleet.settings.alertmanager_url:
            self.alerts = active(await asyncio.to_thread(alerts, self._fleet))
            await asyncio.sleep(_ALERTS_PERIOD)

    def _tell(self, event: str, data: str) -> None:
        self._id = f"{time.time_ns() // 1_000_000}"
        self._message = f"id: {self._id}\nevent: {event}\ndata: {data}\n\n".encode()
        self._news.set()
        self._news = asyncio.Event()
