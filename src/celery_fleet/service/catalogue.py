"""The tasks that this worker registers, as the catalogue tells them."""

import inspect
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.utils.encoding import safe_repr

from celery_fleet.store.catalogue import Parameter, TaskType

_LONGEST = 200

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "varargs",
    inspect.Parameter.VAR_KEYWORD: "varkw",
}


def task_types(app: Celery, pool: str) -> list[TaskType]:
    """All of them but Celery's own."""
    tasks = list(app.tasks.items())
    return [task_type(name, task, pool) for name, task in sorted(tasks) if not name.startswith("celery.")]


def task_type(name: str, task: Any, pool: str) -> TaskType:
    return TaskType(
        name, tuple(_parameters(task.run)), _first_line(task), queue=_queue(name, task), pools=(pool,)
    )


def _queue(name: str, task: Any) -> str:
    try:
        queue = task.app.amqp.router.route({}, name, (), {}, task_type=task)["queue"]
    except Exception:  # any: a route is anybody's code
        return ""
    return str(getattr(queue, "name", queue))


def _parameters(run: Any) -> Iterable[Parameter]:
    """Those that a message gives: a bound `run` has no `self`. Who has no signature takes anything."""
    try:
        found = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):
        return [Parameter("args", "varargs", False), Parameter("kwargs", "varkw", False)]
    return [_parameter(each) for each in found]


def _parameter(found: inspect.Parameter) -> Parameter:
    kind = _KINDS[found.kind]
    has_default = found.default is not found.empty
    return Parameter(
        name=found.name,
        kind=kind,
        required=kind in ("positional", "keyword") and not has_default,
        annotation="" if found.annotation is found.empty else _annotation(found.annotation),
        default=str(safe_repr(found.default))[:_LONGEST] if has_default else "",  # type: ignore[no-untyped-call]
        by_name=found.kind is not found.POSITIONAL_ONLY,
    )


def _annotation(annotation: Any) -> str:
    """As people write it: `int | None`, `list[str]`, `datetime.datetime`, `Order` of a model."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace("typing.", "").replace("NoneType", "None")[:_LONGEST]


def _first_line(task: Any) -> str:
    text = inspect.getdoc(task.run) or ""
    return text.strip().partition("\n")[0][:_LONGEST]
