"""Tells systemd that Beat schedules."""

import logging
import threading
import time
from typing import Any

from .notify import READY, WATCHDOG, notify, status, watchdog_interval

log = logging.getLogger(__name__)

_PERIOD, _STARTING_PERIOD = 2.0, 0.1
_SLACK = 30.0
"""Seconds that a tick may take beyond the longest sleep between ticks."""


def watch_beat(sender: Any, **_: object) -> None:
    """Receiver of `beat_init`, whose sender is Beat's service."""
    threading.Thread(target=BeatWatch(sender).run, name="fleet-readiness", daemon=True).start()


class BeatWatch:
    """Watches one `celery.beat.Service` from a thread: ready and alive is who has ticked of late."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.ready = False
        self._told = ""
        self._begun = time.monotonic()
        interval = watchdog_interval()
        self._period = min(_PERIOD, interval / 4) if interval else _PERIOD

    def run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("Beat could not be judged, so systemd is told nothing")
            time.sleep(self._period if self.ready else _STARTING_PERIOD)

    def look(self) -> None:
        """One round: judge, and tell systemd."""
        lines = []
        connecting = self._connecting()
        if not self.ready and self.service._last_tick is not None and not connecting:
            self.ready = True
            lines.append(READY)
        # The scheduler's own store belongs to its thread: SQLite refuses it to others.
        entries = len(self.service.app.conf.beat_schedule)
        text = "waiting for the broker" if connecting else f"{entries} entries"
        if text != self._told:
            self._told = text
            lines.append(status(text))
        if connecting or self._silence() < self.service.scheduler.max_interval + _SLACK:
            lines.append(WATCHDOG)
        if lines:
            notify(*lines)

    def _silence(self) -> float:
        last = self.service._last_tick
        return time.monotonic() - (self._begun if last is None else last)

    def _connecting(self) -> bool:
        """Whether the scheduler waits for its first connection, which it does for ever."""
        made = vars(self.service.scheduler)
        return "connection" in made and "producer" not in made
