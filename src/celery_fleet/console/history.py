"""The series of the last hours, kept in memory: only the newest steps, which may still change, are read again."""

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from celery_fleet.store.figures import COARSE, FINE, KEPT, Figures, QueueSeries, Series

from .remembering import remembered

if TYPE_CHECKING:
    from .fleet import Fleet

LINES = tuple(field.name for field in fields(QueueSeries))
COUNTS = ("received", "succeeded", "failed", "retried", "revoked")

LONGEST = KEPT[COARSE] // 60
"""Minutes that a chart can show."""

_OPEN = 3
"""The newest steps may still change: workers tell what they did in batches."""

_RENEW = 600.0
"""Seconds after which all is read again."""

_SHARED = 1.0
_SUMMED = ("backlog", "running")


def step_for(minutes: int) -> int:
    """Seconds of a step, so that a chart has some hundred."""
    if minutes * 60 <= KEPT[FINE]:
        return FINE
    return COARSE if minutes <= 1440 else 6 * COARSE


def history(fleet: "Fleet", minutes: int) -> Series:
    """The last so many minutes, the newest step not yet full. Many may ask."""
    step = step_for(minutes)
    spans = {FINE: KEPT[FINE], COARSE: 86_400}
    kept: History = remembered(
        fleet,
        ("history", step),
        float("inf"),
        lambda: History(fleet.figures, step, spans.get(step, KEPT[COARSE])),
    )
    series = remembered(fleet, ("series", step), _SHARED, lambda: kept.read(time.time()))
    return tail(series, max(1, minutes * 60 // step))


def tail(series: Series, steps: int) -> Series:
    """The newest steps."""
    return Series(
        series.at[-steps:],
        {
            queue: QueueSeries(**{name: getattr(lines, name)[-steps:] for name in LINES})
            for queue, lines in series.queues.items()
        },
    )


def join(old: Series, new: Series, steps: int) -> Series:
    """What was known, with the steps that were read again in place of those it had: at most so many, the newest."""
    kept = [at for at in old.at if not new.at or at < new.at[0]]
    queues = {
        queue: _joined(len(kept), old.queues.get(queue), len(new.at), new.queues.get(queue))
        for queue in sorted({*old.queues, *new.queues})
    }
    return tail(Series(kept + new.at, queues), steps)


def _joined(before: int, old: QueueSeries | None, after: int, new: QueueSeries | None) -> QueueSeries:
    lines: dict[str, Any] = {}
    for name in LINES:
        nothing = 0 if name in COUNTS else None
        lines[name] = [
            *(getattr(old, name)[:before] if old else [nothing] * before),
            *(getattr(new, name) if new else [nothing] * after),
        ]
    return QueueSeries(**lines)


class History:
    """One series, of the last `span` seconds. One thread at a time."""

    def __init__(self, figures: Figures, step: int, span: int) -> None:
        self._figures = figures
        self._step = step
        self._steps = span // step
        self._known: Series | None = None
        self._whole_at = float("-inf")

    def read(self, now: float) -> Series:
        """Raises redis.RedisError."""
        newest = now // self._step * self._step
        known = self._known
        if known is None or not 0 <= now - self._whole_at < _RENEW:
            known = self._figures.series(newest - (self._steps - 1) * self._step, now, self._step)
            self._whole_at = now
        else:
            since = min(known.at[-1], newest) - (_OPEN - 1) * self._step
            known = join(known, self._figures.series(since, now, self._step), self._steps)
        self._known = known
        return known


def total(lines: Mapping[str, QueueSeries], steps: int) -> QueueSeries:
    """All queues together: sums, and of times the longest."""
    return QueueSeries(
        **{name: _together(name, [getattr(each, name) for each in lines.values()], steps) for name in LINES}
    )


def _together(name: str, lines: list[list[Any]], steps: int) -> list[Any]:
    if name in COUNTS:
        return [sum(each) for each in zip(*lines, strict=True)] if lines else [0] * steps
    if not lines:
        return [None] * steps
    join_known = sum if name in _SUMMED else max
    known = ([value for value in each if value is not None] for each in zip(*lines, strict=True))
    return [join_known(values) if values else None for values in known]
