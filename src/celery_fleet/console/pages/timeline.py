"""The way of a task, step by step, as its page tells it."""

from dataclasses import dataclass
from datetime import datetime

from celery_fleet.console.models.tasks import TaskDetail

_ENDS = {
    "completed": ("Succeeded", "good"),
    "failed": ("Failed", "bad"),
    "cancelled": ("Cancelled", "idle"),
    "ignored": ("Ended without a result", "idle"),
}

OVER = frozenset(_ENDS)
"""States of tasks that have ended."""


@dataclass(frozen=True)
class Step:
    """`at` None: not known when. `gap`: seconds since the step before. `now`: it is in this step."""

    label: str
    at: datetime | None
    tone: str = "idle"
    note: str = ""
    gap: float | None = None
    now: bool = False
    ahead: bool = False


def steps(task: TaskDetail, now: datetime) -> list[Step]:
    """What is known of the task's way, in the order of time; the last may be what it waits for."""
    known = [
        Step("Submitted", task.submitted_at),
        Step("Due", task.due if task.due and task.due <= now and task.state != "retry" else None),
        Step("Taken by a worker", task.received_at, note=task.worker),
        Step("Started", task.started_at, "busy", _attempt(task)),
    ]
    way = sorted((step for step in known if step.at), key=lambda step: step.at or now)
    if task.state in _ENDS:
        label, tone = _ENDS[task.state]
        way.append(Step(label, task.ended_at or task.at, tone))
    elif task.state == "retry":
        way.append(Step("Failed, and is tried again", task.ended_at or task.at, "warn", task.error))
    return _with_gaps(way) + _ahead(task, now)


def _with_gaps(way: list[Step]) -> list[Step]:
    found: list[Step] = []
    before: datetime | None = None
    for step in way:
        gap = (step.at - before).total_seconds() if step.at and before else None
        found.append(Step(step.label, step.at, step.tone, step.note, gap))
        before = step.at or before
    return found


def _ahead(task: TaskDetail, now: datetime) -> list[Step]:
    """What the task does now, or waits for."""
    message = task.message
    due = task.due or (message.due if message else None)
    if task.state == "processing":
        return [Step("Running", None, "busy", gap=task.runtime, now=True)]
    if task.state == "retry" or (task.state == "pending" and due and due > now):
        return [Step("Due again" if task.state == "retry" else "Due", due, "warn", ahead=True, now=True)]
    if task.state != "pending":
        return []
    note = ""
    if message and message.place == "waiting":
        note = f"in the queue {message.queue}" + (f", number {message.position}" if message.position else "")
    elif message and message.place == "held":
        note = f"held by {message.node or 'a worker'}"
    return [Step("Waits for a worker", None, "idle", note, now=True)]


def _attempt(task: TaskDetail) -> str:
    found = [f"attempt {task.retries + task.losses + 1}"] if task.retries or task.losses else []
    found += [f"{task.losses} lost with its process"] if task.losses else []
    return ", ".join(found)
