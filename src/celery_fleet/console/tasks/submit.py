"""Submitting a task: checked first, then published by its name, as the topology says."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from celery.utils.saferepr import saferepr

from celery_fleet.console.auth import Actor
from celery_fleet.console.errors import Invalid
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.common import moment
from celery_fleet.console.models.tasks import MOST_SECONDS, Submission, Submitted
from celery_fleet.delivery.pending import pending
from celery_fleet.policy.priority import broker_priority
from celery_fleet.store.catalogue import TaskType, misfits
from celery_fleet.store.index import TaskRecord
from celery_fleet.topology.hints import did_you_mean

from .idempotency import canonical, once
from .records import epoch, links
from .types import STALE, UNCHECKED, queue_of, resolve

log = logging.getLogger(__name__)

HIGH = 9
"""What `high` means, from 1 to 10."""

_REPR_LIMIT = 1024


@dataclass(frozen=True)
class Call:
    """A submission that was checked."""

    submission: Submission
    name: str
    queue: str
    """Where it goes."""
    named: bool
    """Whether the message must say so: the topology's routes would send it elsewhere."""
    given: int | None
    """The priority that was asked for, 1 to 10."""
    priority: int
    """The priority that it gets."""
    eta: datetime | None
    expires: float | datetime | None
    notice: str | None
    """What could not be checked."""

    def options(self) -> dict[str, Any]:
        """For `send_task`; what is not said is left to the routes."""
        said = {
            "queue": self.queue if self.named else None,
            "priority": self.given,
            "eta": self.eta,
            "expires": self.expires,
        }
        return {name: value for name, value in said.items() if value is not None}


def submit(fleet: Fleet, actor: Actor, submission: Submission, key: str = "") -> Submitted:
    """Publishes the task. `key`: of an earlier, equal call of the same actor, its answer is returned instead.

    Raises Invalid for what would not run, Conflict, redis.RedisError, kombu's OperationalError.
    """

    def work(seed: str, again: bool) -> dict[str, Any]:
        call = check(fleet, submission)
        if not (again and known(fleet, seed)):
            publish(fleet, call, seed, again)
        answer = _submitted(call, seed)
        note(fleet, [record_of(fleet, call, seed)])
        fleet.audit.add(actor.name, "task.submit", seed, details={"task": call.name, "queue": call.queue})
        return answer.model_dump(mode="json")

    done = once(fleet, actor.name, key, canonical(submission), work)
    return Submitted.model_validate(done.answer | {"replayed": done.replayed})


def check(fleet: Fleet, submission: Submission, leading: int = 0) -> Call:
    """Raises Invalid with all that is wrong. `leading`: results of other tasks that come before its arguments."""
    name, entry = resolve(fleet, submission.type)
    errors = _misfits(submission, entry, leading)
    queues = fleet.topology.queues
    settings = fleet.topology.settings_for(name)
    queue = submission.queue or queue_of(fleet, name, entry)
    named = queue != settings.queue
    if queue not in queues:
        errors.append(
            ("queue", f"there is no queue {queue!r}: nobody would consume it; {did_you_mean(queue, queues)}")
        )
    elif named:
        settings = queues[queue].settings
    given = HIGH if submission.priority == "high" else submission.priority
    given = given if isinstance(given, int) else None
    now = datetime.now(UTC)
    eta, expires = _times(submission, now, errors)
    if errors:
        told = "; ".join(f"{field}: {text}" for field, text in errors)
        raise Invalid(f"the task was not submitted: {told}", errors=errors)
    notice = UNCHECKED if entry is None else STALE if entry.stale else None
    return Call(submission, name, queue, named, given, given or settings.priority, eta, expires, notice)


def publish(fleet: Fleet, call: Call, task_id: str, again: bool) -> None:
    """`again`: it may have been published already; a worker does not repeat it when it has succeeded."""
    more = {"delivery_info": {"redelivered": True}} if again else {}
    fleet.app.send_task(
        call.name,
        call.submission.positional,
        call.submission.named,
        task_id=task_id,
        **call.options(),
        **more,
    )


def known(fleet: Fleet, task_id: str) -> bool:
    """Whether a task was published: it waits, or a worker has seen it."""
    if pending(fleet.broker, [task_id], fleet.keys):
        return True
    record = fleet.index.get(task_id)
    return record is not None and record.state != "PENDING"


def note(fleet: Fleet, records: Sequence[TaskRecord]) -> None:
    """Into the index, until workers tell more. The tasks are published: this must not fail them."""
    try:
        fleet.index.write(records)
    except redis.RedisError as error:
        log.warning("%d submitted tasks are not in the index yet: %s", len(records), error)


def record_of(fleet: Fleet, call: Call, task_id: str, **more: Any) -> TaskRecord:
    now = time.time()
    due = epoch(call.eta)
    shown = fleet.discretion.call(
        call.name,
        call.submission.positional,
        call.submission.named,
        queue=call.queue,
        names=fleet.parameters(call.name),
    )
    record = TaskRecord(
        task_id,
        "PENDING",
        now,
        name=call.name,
        queue=call.queue,
        args=saferepr(tuple(shown.args), _REPR_LIMIT),
        kwargs=saferepr(shown.kwargs, _REPR_LIMIT),
        eta=due,
        since=now if due is None else due,
        priority=broker_priority(call.priority),
        root_id=task_id,
    )
    return replace(record, **more)


def _submitted(call: Call, task_id: str) -> Submitted:
    now = datetime.now(UTC)
    return Submitted(
        task_id=task_id,
        status="scheduled" if call.eta and call.eta > now else "pending",
        type=call.submission.type,
        task=call.name,
        queue=call.queue,
        priority=call.priority,
        submitted_at=now,
        due=call.eta,
        notice=call.notice,
        links=links(task_id),
    )


def _misfits(submission: Submission, entry: TaskType | None, leading: int) -> list[tuple[str, str]]:
    if entry is None:
        return []
    field = "data" if "data" in submission.model_fields_set else "args"
    args = [None] * leading + submission.positional
    return [(field, text.rstrip(".")) for text in misfits(_accepting(entry, leading), args, submission.named)]


def _accepting(entry: TaskType, leading: int) -> TaskType:
    """The task, whose first parameters take anything: what will be there is not known yet."""
    parameters = [
        replace(each, annotation="") if number < leading else each
        for number, each in enumerate(entry.parameters)
    ]
    return replace(entry, parameters=tuple(parameters))


def _times(
    submission: Submission, now: datetime, errors: list[tuple[str, str]]
) -> tuple[datetime | None, float | datetime | None]:
    """When it is due, and when it expires. What cannot be goes to `errors`."""
    eta = moment(epoch(submission.eta))
    if submission.countdown:
        eta = now + timedelta(seconds=submission.countdown)
    if eta and eta > now + timedelta(seconds=MOST_SECONDS):
        errors.append(("eta", "it is more than ten years from now"))
    expires = submission.expires
    end = now + timedelta(seconds=expires) if isinstance(expires, float) else moment(epoch(expires))
    if end is not None:
        if end <= now:
            errors.append(("expires", "it is over already"))
        elif eta and end <= eta:
            errors.append(("expires", "it is before the task is due"))
        elif end > now + timedelta(seconds=2 * MOST_SECONDS):
            errors.append(("expires", "it is more than twenty years from now"))
    return eta, end
