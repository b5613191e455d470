"""The tasks that can be submitted, and which of them a word means."""

from celery_fleet.console.errors import Invalid
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.tasks import ParameterInfo, TaskTypeInfo, TaskTypes
from celery_fleet.store.catalogue import TaskType
from celery_fleet.topology.hints import did_you_mean

UNCHECKED = "No worker has told yet which tasks it knows: the arguments were not checked."
STALE = "No worker registers this task now; it waits until one does."


def task_types(fleet: Fleet) -> TaskTypes:
    """By type; a task that has several types is there with each."""
    known = fleet.catalogue.all()
    aliases = fleet.topology.task_types
    named = set(aliases.values())
    wanted = {**aliases, **{name: name for name in known if name not in named}}
    return TaskTypes(
        types=[_info(fleet, alias, wanted[alias], known.get(wanted[alias])) for alias in sorted(wanted)]
    )


def resolve(fleet: Fleet, wanted: str) -> tuple[str, TaskType | None]:
    """The task's name and what workers tell of it; None: no worker has told anything yet.

    Raises Invalid for what no worker knows, or what means several tasks.
    """
    aliases, known = fleet.topology.task_types, fleet.catalogue.all()
    name = aliases.get(wanted, wanted)
    if name in known:
        return name, known[name]
    if wanted in aliases:
        if not known:
            return name, None
        raise _invalid(f"{wanted!r} is the task {name}, which no worker registers")
    ends = sorted(each for each in known if each.rpartition(".")[2] == wanted)
    if len(ends) == 1:
        return ends[0], known[ends[0]]
    if ends:
        raise _invalid(f"{wanted!r} means several tasks: name one of {', '.join(ends)}")
    if not known:
        says = f"use one of the types {', '.join(sorted(aliases))}" if aliases else "start a worker"
        raise _invalid(f"no worker has told yet which tasks it knows: {says}")
    own = {*aliases, *(each for each in known if not each.startswith("celery."))}
    raise _invalid(f"there is no task {wanted!r}: {did_you_mean(wanted, own)}")


def queue_of(fleet: Fleet, name: str, entry: TaskType | None) -> str:
    """Where a task goes: as workers tell, whose app may have routes of its own, else as the topology says."""
    if entry and entry.queue in fleet.topology.queues:
        return entry.queue
    return fleet.topology.settings_for(name).queue


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="unknown_type", errors=[("type", message)])


def _info(fleet: Fleet, alias: str, name: str, entry: TaskType | None) -> TaskTypeInfo:
    queue = queue_of(fleet, name, entry)
    settings = fleet.topology.settings_for(name)
    if settings.queue != queue:
        settings = fleet.topology.queues[queue].settings
    return TaskTypeInfo(
        type=alias,
        task=name,
        queue=queue,
        priority=settings.priority,
        doc=entry.doc if entry else "",
        parameters=[
            ParameterInfo(
                name=each.name,
                kind=each.kind,
                required=each.required,
                annotation=each.annotation,
                default=each.default,
            )
            for each in entry.parameters
        ]
        if entry
        else None,
        pools=list(entry.pools) if entry else [],
    )
