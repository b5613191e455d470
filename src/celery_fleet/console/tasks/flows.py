"""Tasks that depend on each other: one after the other, or side by side and then one more."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from celery import chain as celery_chain
from celery import chord as celery_chord
from celery import group as celery_group
from celery.canvas import Signature

from celery_fleet.console.auth import Actor
from celery_fleet.console.errors import Conflict, Invalid
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.tasks import Chain, FlowSubmitted, FlowTask, Group, Step
from celery_fleet.policy.priority import broker_priority
from celery_fleet.policy.variables import priority_scale

from .idempotency import Work, canonical, once
from .records import links
from .submit import Call, check, known, note, record_of


def chain(fleet: Fleet, actor: Actor, flow: Chain, key: str = "") -> FlowSubmitted:
    """Publishes the first task; each worker sends the one after it. Raises as `submit`."""

    def work(seed: str, again: bool) -> dict[str, Any]:
        calls = _checked(fleet, [(step, number > 0) for number, step in enumerate(flow.tasks)], "tasks")
        calls = [calls[0], *_inherited(calls)]
        ids = [task_id(seed, number) for number in range(len(calls))]
        if not (again and known(fleet, ids[0])):
            first = _signature(fleet, calls[0], ids[0])
            later = [_later(fleet, call, each) for call, each in zip(calls[1:], ids[1:], strict=True)]
            celery_chain(first, *later, app=fleet.app).apply_async()
        note(
            fleet,
            [
                record_of(fleet, call, each, root_id=ids[0], parent_id=before)
                for call, each, before in zip(calls, ids, ["", *ids], strict=False)
            ],
        )
        return _answer(fleet, actor, "chain", ids[-1], list(zip(calls, ids, strict=True)))

    return _once(fleet, actor, key, flow, work)


def group(fleet: Fleet, actor: Actor, flow: Group, key: str = "") -> FlowSubmitted:
    """Publishes all tasks; the worker that ends the last one sends `then`. Raises as `submit`."""
    if flow.then is not None and fleet.app.backend.as_uri() == "disabled://":
        raise Conflict("`then` needs the results of the group, and this fleet has no result backend")

    def work(seed: str, again: bool) -> dict[str, Any]:
        calls = _checked(fleet, [(step, False) for step in flow.tasks], "tasks")
        then = _checked(fleet, [(flow.then, True)], "then") if flow.then else []
        ids = [task_id(seed, number) for number in range(len(calls) + len(then))]
        if not again or not all(known(fleet, each) for each in ids[: len(calls)]):
            members = [_signature(fleet, call, each) for call, each in zip(calls, ids, strict=False)]
            if then:
                body = _later(fleet, then[0], ids[-1])
                celery_chord(members, body, app=fleet.app).apply_async(task_id=ids[-1])
            else:
                celery_group(members, app=fleet.app).apply_async(task_id=seed)
        note(
            fleet,
            [record_of(fleet, call, each) for call, each in zip(calls, ids, strict=False)]
            + [record_of(fleet, call, ids[-1], root_id=ids[0]) for call in then],
        )
        return _answer(
            fleet, actor, "group", seed, list(zip([*calls, *then], ids, strict=True)), then=bool(then)
        )

    return _once(fleet, actor, key, flow, work)


def task_id(seed: str, number: int) -> str:
    """The id of a task of a flow: the same when the flow is published again after a crash."""
    return str(uuid5(UUID(seed), str(number)))


def _once(fleet: Fleet, actor: Actor, key: str, flow: Chain | Group, work: Work) -> FlowSubmitted:
    done = once(fleet, actor.name, key, canonical(flow), work)
    return FlowSubmitted.model_validate(done.answer | {"replayed": done.replayed})


def _checked(fleet: Fleet, steps: Sequence[tuple[Step, bool]], place: str) -> list[Call]:
    """(step, whether a result comes before it). Raises Invalid with all that is wrong with any of them."""
    calls: list[Call] = []
    errors: list[tuple[str, str]] = []
    for number, (step, follows) in enumerate(steps):
        try:
            calls.append(check(fleet, step, 1 if follows and not step.immutable else 0))
        except Invalid as error:
            where = f"{place}.{number}" if place == "tasks" else place
            errors += [(f"{where}.{field}", text) for field, text in error.errors]
    if errors:
        told = "; ".join(f"{field}: {text}" for field, text in errors)
        raise Invalid(f"nothing was submitted: {told}", errors=errors)
    return calls


def _inherited(calls: Sequence[Call]) -> list[Call]:
    """The calls after the first: a task that is sent by another has its priority, unless it says otherwise."""
    found, priority = [], calls[0].priority
    for call in calls[1:]:
        priority = call.given or priority
        found.append(replace(call, priority=priority))
    return found


def _signature(fleet: Fleet, call: Call, each: str, **more: Any) -> Signature:
    step = call.submission
    return Signature(
        call.name,
        step.positional,
        step.named,
        options=call.options() | {"task_id": each} | more,
        app=fleet.app,
        immutable=isinstance(step, Step) and step.immutable,
    )


def _later(fleet: Fleet, call: Call, each: str) -> Signature:
    """A task that a worker sends: it counts priorities as the code of the fleet's app does."""
    if call.given is None:
        return _signature(fleet, call, each)
    scale = priority_scale(fleet.settings.variables)
    return _signature(fleet, call, each, priority=scale.from_message(broker_priority(call.given)))


def _answer(
    fleet: Fleet,
    actor: Actor,
    kind: str,
    flow_id: str,
    told: Sequence[tuple[Call, str]],
    *,
    then: bool = False,
) -> dict[str, Any]:
    """`told`: every task with its id; `then`: the last of them is that of a group."""
    names = sorted({call.name for call, _ in told})
    fleet.audit.add(actor.name, f"task.{kind}", flow_id, details={"tasks": len(told), "names": names[:20]})
    tasks = [
        FlowTask(
            task_id=each,
            type=call.submission.type,
            task=call.name,
            queue=call.queue,
            priority=call.priority,
            links=links(each),
        )
        for call, each in told
    ]
    answer = FlowSubmitted.model_validate(
        {
            "flow": kind,
            "flow_id": flow_id,
            "tasks": tasks[:-1] if then else tasks,
            "then": tasks[-1] if then else None,
            "submitted_at": datetime.now(UTC),
            "notice": next((call.notice for call, _ in told if call.notice), None),
        }
    )
    return answer.model_dump(mode="json")
