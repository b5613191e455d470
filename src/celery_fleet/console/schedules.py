"""What Beat starts and when, whether it does, and runs by hand."""

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import NAMESPACE_URL, uuid5

from celery_fleet.store.schedules import FRESH, BeatState, ScheduleEntry

from .audits import note
from .errors import Conflict, NotFound
from .models.common import moment
from .models.schedules import BeatInfo, ManualRun, RunResult, ScheduleInfo, ScheduleList

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet

_LATE = 60.0
"""Seconds by which an entry may be overdue."""

# The hash of the last runs by hand changes only as long as it is what was read.
_SWAP = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


def schedules(fleet: "Fleet") -> ScheduleList:
    """The entries of the topology and of Beat's last word, by name."""
    now, state = time.time(), fleet.schedules.read()
    found: Any = fleet.state.hgetall(_key(fleet))
    runs = {name.decode(): raw for name, raw in found.items()}
    entries = [_info(fleet, entry, runs.get(entry.name, b""), now) for entry in entries_of(fleet, state)]
    return ScheduleList(beat=beat_info(state, now), schedules=entries, count=len(entries))


def entries_of(fleet: "Fleet", state: BeatState | None) -> list[ScheduleEntry]:
    """As Beat tells them; what it has not told yet, as the topology has it."""
    told = {entry.name: entry for entry in state.entries} if state else {}
    for name, entry in fleet.topology.beat.items():
        if name not in told:
            text = entry.schedule if isinstance(entry.schedule, str) else f"every {entry.schedule} s"
            told[name] = ScheduleEntry(
                name, entry.task, text, entry.queue, entry.args, entry.kwargs, None, None, 0
            )
    return [told[name] for name in sorted(told)]


def beat_info(state: BeatState | None, now: float) -> BeatInfo:
    """Whether Beat is there."""
    if state is None:
        return BeatInfo(alive=False, host=None, pid=None, seen=None)
    return BeatInfo(alive=now - state.at <= FRESH, host=state.host, pid=state.pid, seen=moment(state.at))


def is_late(entry: ScheduleEntry, now: float) -> bool:
    """Whether it should have been sent more than a minute ago."""
    return entry.next_run is not None and now - entry.next_run > _LATE


def run_now(fleet: "Fleet", actor: "Actor", name: str, token: str = "") -> RunResult:
    """Sends the entry's task, beside its schedule. Raises NotFound, Conflict.

    With the token of a list it is sent once, however many ask: whoever comes later gets the id of that task. A list
    that is older than another's run has a token that is no more valid.
    """
    entry = next((each for each in entries_of(fleet, fleet.schedules.read()) if each.name == name), None)
    if entry is None:
        raise NotFound(f"there is no schedule {name}: GET /api/v1/schedules shows those that there are")
    before = cast(bytes | None, fleet.state.hget(_key(fleet), name)) or b""
    if token and token != token_of(name, before):
        return _repeated(entry, before, token)
    task_id = str(uuid5(NAMESPACE_URL, f"fleet:schedule:{token_of(name, before)}"))
    run = {"task_id": task_id, "by": actor.name, "at": time.time(), "token": token_of(name, before)}
    mark = json.dumps(run).encode()
    if not _swap(fleet, name, before, mark):
        # Somebody was faster, with the same click or the same list.
        return run_now(fleet, actor, name, token or token_of(name, before))
    try:
        where = {"queue": entry.queue} if entry.queue else {}
        fleet.app.send_task(entry.task, list(entry.args), dict(entry.kwargs), task_id=task_id, **where)
    except BaseException:
        _swap(fleet, name, mark, before)
        raise
    note(fleet, actor, "schedule.run", name, task_id=task_id)
    return RunResult(
        repeated=False,
        name=name,
        task=entry.task,
        task_id=task_id,
        message=f"{name} runs now as task {task_id}",
    )


def token_of(name: str, last_run: bytes) -> str:
    """Stands for the entry as it is after its last run by hand."""
    return hashlib.sha256(f"{name}\n".encode() + last_run).hexdigest()[:40]


def _repeated(entry: ScheduleEntry, last: bytes, token: str) -> RunResult:
    """Raises Conflict when the token is not that of the last run."""
    run = json.loads(last) if last else {}
    if run.get("token") != token:
        who = f"it was last run by {run['by']} as {run['task_id']}; " if run else ""
        raise Conflict(
            f"{entry.name} is not as it was when you looked: {who}look again, then repeat it", code="stale"
        )
    return RunResult(
        repeated=True,
        name=entry.name,
        task=entry.task,
        task_id=run["task_id"],
        message=f"{entry.name} runs already, sent by {run['by']} as task {run['task_id']}",
    )


def _swap(fleet: "Fleet", name: str, old: bytes, new: bytes) -> bool:
    return bool(fleet.state.register_script(_SWAP)(keys=[_key(fleet)], args=[name, old, new]))


def _info(fleet: "Fleet", entry: ScheduleEntry, last: bytes, now: float) -> ScheduleInfo:
    run = json.loads(last) if last else None
    shown = fleet.discretion.call(
        entry.task,
        list(entry.args),
        dict(entry.kwargs),
        queue=entry.queue or "",
        names=fleet.parameters(entry.task),
    )
    return ScheduleInfo(
        name=entry.name,
        task=entry.task,
        schedule=entry.schedule,
        queue=entry.queue,
        args=list(shown.args),
        kwargs=dict(shown.kwargs),
        last_run=moment(entry.last_run),
        next_run=moment(entry.next_run),
        runs=entry.runs,
        late=is_late(entry, now),
        manual=ManualRun(task_id=run["task_id"], by=run["by"], at=moment(run["at"])) if run else None,
        token=token_of(entry.name, last),
    )


def _key(fleet: "Fleet") -> str:
    """Hash: entry -> JSON of its last run by hand."""
    return f"{fleet.prefix}fleet:runs"
