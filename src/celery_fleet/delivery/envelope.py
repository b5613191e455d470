"""A message as it lies in Redis: kombu's envelope, JSON. Pure functions."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celery_fleet.store.headers import LOST

SOON = 10.0
"""Seconds: a task that is due later is parked."""


def due(headers: Any) -> float | None:
    """When the task is due, in seconds since the epoch, if its message says so."""
    eta = headers.get("eta") if isinstance(headers, Mapping) else None
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_far(headers: Any, now: float) -> float | None:
    """The due time of a task that is not due soon."""
    moment = due(headers)
    return moment if moment is not None and moment - now > SOON else None


def redelivered(message: dict[str, Any]) -> dict[str, Any]:
    """The message, marked as kombu marks what it delivers again."""
    headers = message.setdefault("headers", {})
    if isinstance(headers, dict):
        headers["redelivered"] = True
    info = message["properties"].get("delivery_info")
    if isinstance(info, dict):
        info["redelivered"] = True
    return message


def bereaved(message: dict[str, Any], now: float) -> int:
    """Counts a death of the process that held the message; how many there have been.

    A task that is not yet due has not run: its message says nothing about it.
    """
    headers = message.get("headers")
    if not isinstance(headers, dict):
        return 0
    losses = headers.get(LOST)
    losses = losses if isinstance(losses, int) and losses > 0 else 0
    if (due(headers) or 0) <= now:
        losses += 1
        headers[LOST] = losses
    return losses


def priority(message: Mapping[str, Any], steps: tuple[int, ...]) -> int:
    """The step of the list that the message belongs to, as kombu chooses it."""
    try:
        wanted = max(0, min(9, int(message["properties"]["priority"])))
    except (TypeError, ValueError, KeyError):
        wanted = 0
    return max((step for step in steps if step <= wanted), default=steps[0])


def task_id(headers: Any) -> str:
    """The id of a task by the headers of its message; empty: it is of none."""
    if not isinstance(headers, Mapping) or not headers.get("task"):
        return ""
    found = headers.get("id")
    return found if isinstance(found, str) else ""


def parked_member(queue: str, key: str, message: str) -> str:
    """The member of the parked set for a message (JSON) of a queue's list."""
    return f'{{"queue": {json.dumps(queue)}, "key": {json.dumps(key)}, "message": {message}}}'
