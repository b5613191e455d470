"""Workers and pools: what Redis knows of them, so that no worker is asked; draining them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celery_fleet.delivery import pausing
from celery_fleet.delivery.pausing import Pause, pool_of
from celery_fleet.store.presence import FRESH as WORD_FRESH
from celery_fleet.store.presence import Presence
from celery_fleet.survey.reading import is_forgotten, read_gone, read_leases
from celery_fleet.survey.roster import ALIVE, DEAD, FRESH, GONE, SILENT, STOPPED, Lease, local_nodes

from .audits import note
from .errors import Conflict, NotFound
from .models.common import moment
from .models.queues import PauseInfo, PauseResult
from .models.workers import PoolInfo, RunningTask, WorkerDetail, WorkerInfo

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet

_PATIENCE = 60.0
"""Seconds without a word after which a worker with a fresh lease is silent: clocks of hosts may differ."""

CANNOT: Mapping[str, tuple[str, ...]] = {
    "threads": ("end a task that runs", "enforce time limits"),
    "solo": ("end a task that runs", "enforce time limits"),
    "gevent": ("enforce soft time limits",),
    "eventlet": ("enforce soft time limits",),
}


@dataclass(frozen=True)
class Staff:
    """The workers as they are now."""

    workers: list[WorkerInfo]
    presences: Mapping[str, Presence]
    """The last word of those that are alive, by node."""
    pauses: Sequence[Pause] = ()

    @property
    def alive(self) -> list[WorkerInfo]:
        return [worker for worker in self.workers if worker.state in (ALIVE, SILENT)]

    def consumers(self, queue: str) -> list[WorkerInfo]:
        """Those that take from the queue."""
        return [worker for worker in self.alive if queue in worker.queues and not worker.draining]


@dataclass(frozen=True)
class Sources:
    """What is known of workers, from where."""

    leases: Sequence[Lease]
    presences: Sequence[Presence]
    gone: Mapping[str, float] = field(default_factory=dict)
    """Node -> seconds since its work was given to others."""
    local: Sequence[str] = ()
    """The nodes that the pools of the console's host are."""
    pauses: Sequence[Pause] = ()
    leased: bool = True
    """Whether workers have leases: those of stock delivery have none."""


def look(fleet: "Fleet") -> Staff:
    """All workers, in a few milliseconds."""
    gone = {node: age for node, age in read_gone(fleet).items() if not is_forgotten(fleet, node, age)}
    sources = Sources(
        leases=read_leases(fleet),
        presences=fleet.presences.all(),
        gone=gone,
        local=local_nodes(fleet.topology_path),
        pauses=pausing.pauses(fleet.broker, fleet.keys),
        leased=fleet.topology.delivery == "atomic",
    )
    return staff_of(sources, time.time())


def staff_of(sources: Sources, now: float) -> Staff:
    """Who is there, by name: who holds a lease, said something of late, is gone, or is a pool of this host."""
    leases = {lease.node: lease for lease in sources.leases}
    said = {presence.node: presence for presence in sources.presences}
    fresh = {node for node, presence in said.items() if now - presence.at <= WORD_FRESH}
    # Without leases the last word is all that there is; with them, who has none and is silent has stopped.
    nodes = {*leases, *fresh, *sources.gone, *sources.local, *(() if sources.leased else said)}
    workers = [
        _worker(node, leases.get(node), said.get(node), sources, now)
        for node in sorted(nodes, key=lambda node: (pool_of(node), node))
    ]
    alive = {worker.node for worker in workers if worker.state in (ALIVE, SILENT)}
    words = {node: presence for node, presence in said.items() if node in alive}
    return Staff(workers, words, sources.pauses)


def _worker(
    node: str, lease: Lease | None, said: Presence | None, sources: Sources, now: float
) -> WorkerInfo:
    state = _state(node, lease, said, sources, now)
    here = state in (ALIVE, SILENT)
    seen: float | None = None
    if lease:
        seen = now - lease.age
    elif node in sources.gone:
        seen = now - sources.gone[node]
    elif said:
        seen = said.at
    told = said if here or state == DEAD else None
    return WorkerInfo(
        node=node,
        pool=pool_of(node),
        host=lease.host if lease else told.host if told else node.partition("@")[2],
        state=state,
        stopping=bool(told and told.stopping and here),
        draining=drained_by(node, sources.pauses),
        pid=lease.pid if lease else told.pid if told else None,
        kind=told.kind if told else None,
        concurrency=told.concurrency if told else None,
        busy=told.busy if told and here else None,
        done=told.done if told else None,
        failed=told.failed if told else None,
        queues=list(told.queues) if told else [],
        release=told.release or None if told else None,
        started_at=moment(told.started_at) if told else None,
        memory=told.memory if told and here else None,
        largest_child=told.largest_child if told and here else None,
        seen=moment(seen),
        cannot=list(CANNOT.get(told.kind, ())) if told else [],
    )


def _state(node: str, lease: Lease | None, said: Presence | None, sources: Sources, now: float) -> str:
    if lease:
        if lease.age > FRESH:
            return DEAD
        return ALIVE if said and now - said.at <= _PATIENCE else SILENT
    if said and now - said.at <= WORD_FRESH and node not in sources.gone:
        return ALIVE
    if node in sources.gone:
        return GONE
    return DEAD if said and not sources.leased else STOPPED


def drained_by(node: str, pauses: Iterable[Pause]) -> PauseInfo | None:
    """Who drains the worker of this node, by its name or by that of its pool."""
    return next((pause_info(pause) for pause in pauses if pause.holds(node)), None)


def pause_info(pause: Pause) -> PauseInfo:
    return PauseInfo(by=pause.by, at=moment(pause.at), reason=pause.reason)


def all_workers(fleet: "Fleet") -> list[WorkerInfo]:
    return look(fleet).workers


def worker(fleet: "Fleet", node: str) -> WorkerDetail:
    """Raises NotFound."""
    staff = look(fleet)
    found = next((each for each in staff.workers if each.node == node), None)
    if found is None:
        raise _unknown(node)
    said = staff.presences.get(node)
    running = [
        RunningTask(task_id=task.task_id, name=task.name, queue=task.queue, started=moment(task.started))
        for task in (said.running if said else ())
    ]
    return WorkerDetail(**dict(found), running=running)


def pools(fleet: "Fleet") -> list[PoolInfo]:
    return pools_of(look(fleet).workers)


def pool(fleet: "Fleet", name: str) -> PoolInfo:
    """Raises NotFound."""
    found = next((each for each in pools(fleet) if each.name == name), None)
    if found is None:
        raise _unknown(name)
    return found


def pools_of(workers: Sequence[WorkerInfo]) -> list[PoolInfo]:
    """The workers of one name on all hosts, together."""
    return [
        _pool(name, [worker for worker in workers if worker.pool == name])
        for name in dict.fromkeys(worker.pool for worker in workers)
    ]


def _pool(name: str, members: Sequence[WorkerInfo]) -> PoolInfo:
    alive = [worker for worker in members if worker.state in (ALIVE, SILENT)]
    concurrency = sum(worker.concurrency or 0 for worker in alive)
    busy = sum(worker.busy or 0 for worker in alive)
    memory = [worker.memory for worker in alive if worker.memory is not None]
    return PoolInfo(
        name=name,
        kind="/".join(_all(worker.kind for worker in members)) or None,
        workers=len(members),
        alive=len(alive),
        draining=sum(worker.draining is not None for worker in members),
        hosts=_all(worker.host for worker in members),
        nodes=[worker.node for worker in members],
        concurrency=concurrency,
        busy=busy,
        saturation=round(busy / concurrency, 3) if concurrency else None,
        done=sum(worker.done or 0 for worker in members),
        failed=sum(worker.failed or 0 for worker in members),
        queues=_all(queue for worker in members for queue in worker.queues),
        memory=sum(memory) if memory else None,
        releases=_all(worker.release for worker in members),
        cannot=_all(each for worker in members for each in worker.cannot),
    )


def _all(values: Iterable[str | None]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(value for value in values if value))


def drain(fleet: "Fleet", actor: "Actor", name: str, reason: str = "") -> PauseResult:
    """A worker, or all workers of a pool, take no new task; what runs ends. Raises NotFound, Conflict."""
    kind = _kind(fleet, name)
    refuse_stock(fleet)
    changed = pausing.pause(fleet.broker, pausing.WORKER, name, actor.name, reason, fleet.keys)
    if changed:
        note(fleet, actor, "worker.drain", name, reason=reason)
    verb = "is draining" if changed else "was draining before"
    text = f"The {kind} {name} {verb}: it ends what it runs, and takes nothing more"
    return PauseResult(kind=kind, name=name, status="draining", changed=changed, message=text)


def undrain(fleet: "Fleet", actor: "Actor", name: str) -> PauseResult:
    """It takes tasks again. Raises NotFound; Conflict for a worker whose pool is drained."""
    kind = _kind(fleet, name)
    refuse_stock(fleet)
    changed = pausing.resume(fleet.broker, pausing.WORKER, name, list(fleet.topology.queues), fleet.keys)
    if changed:
        note(fleet, actor, "worker.undrain", name)
    elif kind == "worker" and drained_by(name, pausing.pauses(fleet.broker, fleet.keys)):
        raise Conflict(
            f"{name} is drained with its pool: undrain the pool {pool_of(name)}", code="pool_drained"
        )
    text = f"The {kind} {name} {'takes tasks again' if changed else 'was not drained'}"
    return PauseResult(kind=kind, name=name, status="running", changed=changed, message=text)


def refuse_stock(fleet: "Fleet") -> None:
    """Raises Conflict where nothing can be paused."""
    if fleet.topology.delivery != "atomic":
        raise Conflict(f"this is not possible here: {pausing.STOCK}", code="stock_delivery")


def _kind(fleet: "Fleet", name: str) -> str:
    """worker or pool: a mark for one that is not there would wait for whoever gets the name."""
    staff = look(fleet)
    kind = "worker" if "@" in name else "pool"
    known = {each.node if kind == "worker" else each.pool for each in staff.workers}
    # One that has stopped since it was drained can still be undrained.
    known |= {pause.name for pause in staff.pauses if pause.kind == pausing.WORKER}
    if name not in known:
        raise _unknown(name)
    return kind


def _unknown(name: str) -> NotFound:
    kind = "worker" if "@" in name else "pool"
    return NotFound(f"there is no {kind} {name}: GET /api/v1/{kind}s shows those that there are")
