"""What a client may send twice is done once: requests with an Idempotency-Key.

Redis keeps for a day what was asked for under a key, the seed of the ids that the work uses, and, once it is done,
the answer. Who works holds a lease meanwhile. After a crash the next who asks takes over, with the same ids: `again`
tells the work to look first whether it was done.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from celery_fleet.console.errors import Conflict, Invalid, Problem
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.common import Request

KEPT = 86_400
LEASE = 60
"""Seconds: far more than publishing may take, which gives up a Redis that is away."""

_PATIENCE, _STEP = 3.0, 0.05
_LONGEST = 255

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True)
class Done:
    """The answer, and whether it was given before."""

    answer: dict[str, Any]
    replayed: bool


Work = Callable[[str, bool], dict[str, Any]]
"""work(seed, again) -> the answer, as JSON."""


def once(fleet: Fleet, who: str, key: str, body: str, work: Work) -> Done:
    """Does the work, or returns the answer of the same request before it. Without a key it is done each time.

    Raises Invalid when the key came with another body, Conflict while the same request is being worked on.
    """
    if not key:
        return Done(work(str(uuid4()), False), False)
    if len(key) > _LONGEST or not key.isprintable():
        message = f"it is to be 1 to {_LONGEST} printable characters"
        raise Invalid(f"Idempotency-Key: {message}", errors=[("Idempotency-Key", message)])
    digest = hashlib.sha256(f"{who}\0{key}".encode()).hexdigest()
    base = f"{fleet.prefix}fleet:idempotency:{digest}"
    return _once(fleet, base, hashlib.sha256(body.encode(errors="replace")).hexdigest(), work)


def canonical(wanted: Request) -> str:
    """The same text for requests that say the same, in whatever order."""
    said = {type(wanted).__name__: wanted.model_dump(exclude_unset=True)}
    return json.dumps(said, sort_keys=True, default=str)


def _once(fleet: Fleet, base: str, asked: str, work: Work) -> Done:
    lease, token, end = f"{base}:lease", uuid4().hex, time.monotonic() + _PATIENCE
    while True:
        if answer := _answer(_read(fleet, base), asked):
            return Done(answer, True)
        if fleet.state.set(lease, token, nx=True, ex=LEASE):
            break
        if time.monotonic() > end:
            raise Conflict(
                "the same request is being worked on: ask again in a few seconds",
                code="in_progress",
                headers={"Retry-After": "2"},
            )
        time.sleep(_STEP)
    try:
        found = _read(fleet, base)  # what its last holder may have done since
        if answer := _answer(found, asked):
            return Done(answer, True)
        seed = str(found["seed"]) if found else str(uuid4())
        if found is None:
            _write(fleet, base, {"asked": asked, "seed": seed})
        try:
            answer = work(seed, found is not None)
        except Problem:
            if found is None:  # refused, so that nothing was done: the key is free again
                fleet.state.delete(base)
            raise
        _write(fleet, base, {"asked": asked, "seed": seed, "answer": answer})
        return Done(answer, False)
    finally:
        fleet.state.eval(_RELEASE, 1, lease, token)


def _read(fleet: Fleet, base: str) -> dict[str, Any] | None:
    found: Any = fleet.state.get(base)
    return None if found is None else dict(json.loads(found))


def _write(fleet: Fleet, base: str, said: dict[str, Any]) -> None:
    fleet.state.set(base, json.dumps(said), ex=KEPT)


def _answer(found: dict[str, Any] | None, asked: str) -> dict[str, Any] | None:
    if found is None:
        return None
    if found["asked"] != asked:
        message = "it was used for another request in the last 24 hours: take a new one"
        raise Invalid(f"Idempotency-Key: {message}", code="key_reused", errors=[("Idempotency-Key", message)])
    answer = found.get("answer")
    return None if answer is None else dict(answer)
