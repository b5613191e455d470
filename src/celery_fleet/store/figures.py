"""Figures: how many tasks came, ended and waited, counted in the same step in which the index learns of it.

So they are true whoever writes, however often, in any order, and after any death. Each task is counted as received
once, and by its first end: one that failed and then succeeds, because its message was delivered again, stays a
failure, and no count ever goes back. It is counted as retried each time that it is tried again by a retry.
What the index has forgotten (see `TaskIndex`) is counted anew when it is heard of again.

Below `fleet:figures` are the counts since the state began, by task name, by error and by worker, and by all of these
with the queue; the same by queue in buckets of time, with histograms of how long tasks waited and ran; and what the
queues held at moments.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, math.inf)
"""The upper bounds of the histograms' buckets, in seconds."""

FINE, COARSE = 10, 300
"""Seconds of a bucket of time."""

KEPT = {FINE: 2 * 3600, COARSE: 8 * 86400}
"""Seconds for which the buckets of each size are kept."""

LIMITS = {"names": 1000, "queues": 200, "errors": 5000, "workers": 5000, "cells": 20_000}
"""Names of tasks, queues, pairs with an exception, and names with queue and worker that are told apart."""

OTHER = "other"
"""In place of the names that come when there are that many."""

PRIORITIES = ("high", "normal", "low")
"""What priorities 10 to 8, 7 to 4 and 3 to 1 are called."""

_SEPARATOR = "\x1f"
_READ_AT_ONCE = 500
_MICRO = 1e-6
_SUMS = ("received", "succeeded", "failed", "retried", "revoked", "runtime", "wait", "waits")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Totals:
    """Counts of tasks, and sums of seconds."""

    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    revoked: int = 0
    runtime: float = 0.0
    """Of those that succeeded."""
    wait: float = 0.0
    """From when they were due until they began."""
    waits: int = 0
    """Of so many beginnings; a task that is retried begins again."""


@dataclass(frozen=True)
class NameFigures:
    """The tasks of one name since the fleet's state began."""

    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    revoked: int = 0
    received: Mapping[str, int] = field(default_factory=dict)
    """By priority, see PRIORITIES."""
    runtime: float = 0.0
    """Seconds, of those that succeeded."""
    buckets: tuple[tuple[float, int], ...] = ()
    """How many of those ran for at most so many seconds."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures by the class of their exception."""


@dataclass(frozen=True)
class Cell:
    """Tasks of one name, of one queue, on one worker, since the fleet's state began."""

    name: str
    queue: str
    worker: str
    """Its node; empty: none has had them, or there are too many to tell apart."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """received, started, succeeded, retried, revoked."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """By the class of the exception."""


@dataclass(frozen=True)
class Histogram:
    """How long tasks of one name and queue took. `counts`: for each of BOUNDS, how many are not above it and above the
    bound before it; `sum`: seconds."""

    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True)
class Spans:
    """Of tasks of one name and queue: how long they waited from when they were due, and how long those ran that succeeded."""

    name: str
    queue: str
    wait: Histogram
    runtime: Histogram


@dataclass(frozen=True)
class QueueSeries:
    """What went through one queue, step by step. Seconds; None: nothing there, or not looked at."""

    received: list[int]
    succeeded: list[int]
    failed: list[int]
    retried: list[int]
    revoked: list[int]
    wait_p50: list[float | None]
    wait_p95: list[float | None]
    run_p50: list[float | None]
    run_p95: list[float | None]
    backlog: list[int | None]
    running: list[int | None]
    oldest: list[float | None]


@dataclass(frozen=True)
class Series:
    """`at`: when each step begins."""

    at: list[float]
    queues: dict[str, QueueSeries]


Gauges = tuple[int, int, float | None]
"""What a queue holds at a moment: tasks waiting, tasks running, seconds since the oldest of those waiting is due."""


class Figures:
    """What was counted. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._base = f"{prefix}fleet:figures"

    def totals(self) -> Totals:
        """Since the fleet's state began."""
        return _totals(_counts(self._client.hgetall(self._base)))

    def window(self, seconds: float, now: float | None = None) -> Totals:
        """Of the last so many seconds, to the ten seconds that a bucket has; beyond two hours, to five minutes."""
        now = time.time() if now is None else now
        queues = self._queues(now - seconds)
        keys = [self._bucket(size, at, queue) for size, at in _cover(now - seconds, now) for queue in queues]
        sums: Counter[str] = Counter()
        for chunk in _chunks(keys):
            pipe = self._client.pipeline(transaction=False)
            for key in chunk:
                pipe.hmget(key, *_SUMS)
            for values in pipe.execute():
                sums.update({name: int(value) for name, value in zip(_SUMS, values, strict=True) if value})
        return _totals(sums)

    def by_name(self) -> dict[str, NameFigures]:
        """By the name of the task: at most so many names, the others together as `other`."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(f"{self._base}:names")
        pipe.hgetall(f"{self._base}:errors")
        names, errors = pipe.execute()
        errors_of: dict[str, dict[str, int]] = {}
        for (name, error), count in _pairs(errors):
            errors_of.setdefault(name, {})[error] = count
        counted: dict[str, dict[str, int]] = {}
        for (name, what), count in _pairs(names):
            counted.setdefault(name, {})[what] = count
        return {
            name: _name_figures(counted.get(name, {}), errors_of.get(name, {}))
            for name in sorted({*counted, *errors_of})
        }

    def worker_errors(self) -> dict[tuple[str, str], int]:
        """Failures by the worker's node and the class of the exception."""
        return dict(_pairs(self._client.hgetall(f"{self._base}:workers")))

    def cells(self) -> list[Cell]:
        """By name, queue and worker."""
        found: dict[tuple[str, str, str], tuple[dict[str, int], dict[str, int]]] = {}
        for key, count in _counts(self._client.hgetall(f"{self._base}:cells")).items():
            name, queue, worker, what, *exception = key.split(_SEPARATOR)
            counts, failed = found.setdefault((name, queue, worker), ({}, {}))
            if what == "failed":
                failed[(exception or [OTHER])[0]] = count
            else:
                counts[what] = count
        return [Cell(*key, *found[key]) for key in sorted(found)]

    def spans(self) -> list[Spans]:
        """By name and queue."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for key, count in _counts(self._client.hgetall(f"{self._base}:histograms")).items():
            name, queue, what = key.split(_SEPARATOR)
            found.setdefault((name, queue), {})[what] = count
        return [
            Spans(
                *key,
                Histogram(tuple(_histogram(counts, "w")), counts.get("wait", 0) * _MICRO),
                Histogram(tuple(_histogram(counts, "r")), counts.get("runtime", 0) * _MICRO),
            )
            for key, counts in sorted(found.items())
        ]

    def series(self, since: float, until: float, step: int) -> Series:
        """What happened in each step. `step` is made a multiple of a bucket; one of five minutes reaches back 8 days,
        a shorter one two hours."""
        size = COARSE if step >= COARSE else FINE
        step = max(size, math.ceil(step / size) * size)
        begin = math.floor(since / step) * step
        starts = list(range(begin, math.ceil(until), step)) or [begin]
        queues = self._queues(since)
        places = [
            (number, at) for number, start in enumerate(starts) for at in range(start, start + step, size)
        ]
        keys = [
            (queue, number, self._bucket(size, at, queue))
            for number, at in places
            if at < until
            for queue in queues
        ]
        counts: dict[str, list[Counter[str]]] = {queue: [Counter() for _ in starts] for queue in queues}
        for chunk in _chunks(keys):
            pipe = self._client.pipeline(transaction=False)
            for _, _, key in chunk:
                pipe.hgetall(key)
            for (queue, number, _), found in zip(chunk, pipe.execute(), strict=True):
                if found:
                    counts[queue][number].update(_counts(found))
        gauges = self._gauges(size, places, len(starts))
        empty: list[Gauges | None] = [None] * len(starts)
        return Series(
            at=[float(start) for start in starts],
            queues={
                queue: _queue_series(
                    counts.get(queue) or [Counter() for _ in starts], gauges.get(queue, empty)
                )
                for queue in sorted({*queues, *gauges})
            },
        )

    def sample(self, now: float, gauges: Mapping[str, Gauges]) -> bool:
        """Notes what the queues hold; the first in a bucket of time does, and is told so."""
        told = json.dumps(dict(gauges)).encode(errors="replace")
        pipe = self._client.pipeline(transaction=False)
        for size in (FINE, COARSE):
            pipe.set(self._gauge(size, now), told, nx=True, ex=KEPT[size] + size)
        pipe.zremrangebyscore(f"{self._base}:queues", "-inf", now - KEPT[COARSE])
        return bool(pipe.execute()[0])

    def _queues(self, since: float) -> list[str]:
        """Those through which something went."""
        found: Any = self._client.zrangebyscore(f"{self._base}:queues", since - COARSE, "+inf")
        return sorted(name.decode(errors="replace") for name in found)

    def _gauges(
        self, size: int, places: Sequence[tuple[int, int]], steps: int
    ) -> dict[str, list[Gauges | None]]:
        """The newest sample of each step."""
        gauges: dict[str, list[Gauges | None]] = {}
        for chunk in _chunks(places):
            found: Any = self._client.mget([self._gauge(size, at) for _, at in chunk])
            for (number, _), told in zip(chunk, found, strict=True):
                for queue, values in (json.loads(told) if told else {}).items():
                    gauges.setdefault(queue, [None] * steps)[number] = tuple(values)
        return gauges

    def _bucket(self, size: int, at: float, queue: str) -> str:
        return f"{self._base}:{size}:{int(at) // size * size}:{queue}"

    def _gauge(self, size: int, at: float) -> str:
        return f"{self._base}:gauges:{size}:{int(at) // size * size}"


def percentile(counts: Sequence[int], share: float) -> float | None:
    """About how many seconds that share of what a histogram holds stays below; None: it holds nothing.

    `counts`: for each of BOUNDS, how many are above the bound before it and not above it. Within a bucket they are
    taken for evenly spread; above the last bound that is a number nothing more is known.

    >>> percentile([0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.5)
    0.75
    """
    wanted, below, low = sum(counts) * share, 0.0, 0.0
    if not wanted:
        return None
    for count, bound in zip(counts, BOUNDS, strict=True):
        if count and below + count >= wanted:
            return low if math.isinf(bound) else round(low + (bound - low) * (wanted - below) / count, 4)
        below += count
        low = bound
    return low


def priority_word(carried: int | None) -> str:
    """What the priority of a message is called: the transport's, 0 goes first.

    >>> priority_word(0), priority_word(5), priority_word(9), priority_word(None)
    ('high', 'normal', 'low', 'normal')
    """
    high, normal, low = PRIORITIES
    return normal if carried is None or 3 <= carried <= 6 else high if carried < 3 else low


def _totals(counts: Mapping[str, int]) -> Totals:
    def of(name: str) -> int:
        return counts.get(name, 0)

    return Totals(
        of("received"),
        of("succeeded"),
        of("failed"),
        of("retried"),
        of("revoked"),
        of("runtime") * _MICRO,
        of("wait") * _MICRO,
        of("waits"),
    )


def _name_figures(counts: Mapping[str, int], errors: Mapping[str, int]) -> NameFigures:
    cumulative, buckets = 0, []
    for bound, count in zip(BOUNDS, _histogram(counts, "r"), strict=True):
        cumulative += count
        buckets.append((bound, cumulative))
    return NameFigures(
        succeeded=counts.get("succeeded", 0),
        failed=counts.get("failed", 0),
        retried=counts.get("retried", 0),
        revoked=counts.get("revoked", 0),
        received={word: counts[f"received {word}"] for word in PRIORITIES if f"received {word}" in counts},
        runtime=counts.get("runtime", 0) * _MICRO,
        buckets=tuple(buckets),
        errors=errors,
    )


def _queue_series(counts: Sequence[Mapping[str, int]], gauges: Sequence[Gauges | None]) -> QueueSeries:
    def count(name: str) -> list[int]:
        return [each.get(name, 0) for each in counts]

    def share(kind: str, wanted: float) -> list[float | None]:
        return [percentile(_histogram(each, kind), wanted) for each in counts]

    return QueueSeries(
        received=count("received"),
        succeeded=count("succeeded"),
        failed=count("failed"),
        retried=count("retried"),
        revoked=count("revoked"),
        wait_p50=share("w", 0.5),
        wait_p95=share("w", 0.95),
        run_p50=share("r", 0.5),
        run_p95=share("r", 0.95),
        backlog=[each[0] if each else None for each in gauges],
        running=[each[1] if each else None for each in gauges],
        oldest=[each[2] if each else None for each in gauges],
    )


def _histogram(counts: Mapping[str, int], kind: str) -> list[int]:
    return [counts.get(f"{kind}{number}", 0) for number in range(1, len(BOUNDS) + 1)]


def _cover(since: float, until: float) -> Iterator[tuple[int, int]]:
    """The fewest buckets that cover a time, as (size, start): large ones within, small ones at its ends."""
    oldest_fine = until - KEPT[FINE]
    at = int(since) // FINE * FINE
    while at < until:
        whole = at % COARSE == 0 and at + COARSE <= until
        if whole or at < oldest_fine:
            at = at // COARSE * COARSE
            yield COARSE, at
            at += COARSE
        else:
            yield FINE, at
            at += FINE


def _counts(found: Any) -> dict[str, int]:
    return {name.decode(errors="replace"): int(value) for name, value in found.items()}


def _pairs(found: Any) -> Iterator[tuple[tuple[str, str], int]]:
    for name, count in _counts(found).items():
        first, _, second = name.partition(_SEPARATOR)
        yield (first, second or OTHER), count


def _chunks(items: Sequence[_Item]) -> Iterable[Sequence[_Item]]:
    return (items[start : start + _READ_AT_ONCE] for start in range(0, len(items), _READ_AT_ONCE))
