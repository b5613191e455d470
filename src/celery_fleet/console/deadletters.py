"""Dead letters: listed, tried again, deleted; one by one, or many by a preview that shows which."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_fleet.policy.priority import fleet_priority
from celery_fleet.store.deadletters import DeadLetter, RetryError
from celery_fleet.store.discreet import discreet
from celery_fleet.store.retrying import retry as retry_letter
from celery_fleet.topology.discretion import Discretion

from .audits import note
from .errors import Conflict, Invalid, NotFound
from .models.common import moment
from .models.dead_letters import (
    BulkAction,
    BulkPreview,
    BulkResult,
    DeadLetterDetail,
    DeadLetterFilter,
    DeadLetterInfo,
    DeadLetterList,
    DeletedLetter,
    RetriedLetter,
)

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet

CAP = 1000
"""Letters that one action touches at most."""

_SAMPLE = 10
_NAMED = 50
"""Ids that the audit names of those that an action touched."""


def listing(fleet: "Fleet", asked: DeadLetterFilter, offset: int = 0, limit: int = 50) -> DeadLetterList:
    """Newest first."""
    if asked.ids or _has_wildcards(asked.name):
        ids = list(_ids(fleet, asked))
        letters, total = fleet.letters.brief(ids[offset : offset + limit]), len(ids)
    else:
        page = fleet.letters.list(offset, limit, **asked.facets)
        letters, total = page.letters, page.total
    more = offset + limit < total
    return DeadLetterList(
        failed_tasks=[info(discreet(letter, fleet.discretion)) for letter in letters],
        count=len(letters),
        total=total,
        offset=offset,
        limit=limit,
        next_offset=offset + limit if more else None,
        counts=fleet.letters.counts(),
    )


def get(fleet: "Fleet", task_id: str) -> DeadLetterDetail:
    """The whole letter. Raises NotFound."""
    letter = fleet.letters.get(task_id)
    if letter is None:
        raise _missing(task_id)
    letter = discreet(letter, fleet.discretion, fleet.parameters(letter.name))
    template = fleet.settings.trace_url
    trace = template.replace("{trace_id}", letter.trace_id) if template and letter.trace_id else None
    message = letter.message.encode(errors="surrogateescape").decode(errors="replace")
    return DeadLetterDetail(**_fields(letter), traceback=letter.traceback, message=message, trace_url=trace)


def retry(fleet: "Fleet", actor: "Actor", task_id: str) -> RetriedLetter:
    """Runs the task again under a new id, once however many ask for it. Raises NotFound, Conflict."""
    try:
        new_id = retry_letter(fleet.app, fleet.letters, task_id, actor.name)
    except RetryError as error:
        raise _refusal(error) from error
    note(fleet, actor, "dlq.retry", task_id, retried_as=new_id)
    return RetriedLetter(
        task_id=task_id, new_task_id=new_id, message=f"Task {task_id} runs again as {new_id}"
    )


def delete(fleet: "Fleet", actor: "Actor", task_id: str) -> DeletedLetter:
    """Raises NotFound, also when somebody was faster."""
    if not fleet.letters.delete([task_id]):
        raise _missing(task_id)
    note(fleet, actor, "dlq.delete", task_id)
    return DeletedLetter(task_id=task_id, message=f"The dead letter {task_id} is deleted")


def preview(fleet: "Fleet", asked: DeadLetterFilter) -> BulkPreview:
    """What an action on all that pass the filter would touch: at most CAP letters, the newest."""
    seconds, microseconds = fleet.state.time()
    chosen = _choose(fleet, asked, seconds + microseconds / 1_000_000)
    return _preview(chosen, fleet.discretion)


def bulk(
    fleet: "Fleet", actor: "Actor", action: BulkAction, asked: DeadLetterFilter, token: str
) -> BulkResult:
    """Retries or deletes the letters of a preview. Raises Conflict when they are not as they were then."""
    chosen = _choose(fleet, asked, _moment_of(token))
    if chosen.token != token:
        now = preview(fleet, asked)
        raise Conflict(
            "some of these dead letters were retried or deleted since you looked: look again, then repeat it",
            code="stale",
            extra={"token": now.token, "count": now.count, "skipped": now.skipped},
        )
    ids = [letter.task_id for letter in chosen.letters]
    fresh = [letter.task_id for letter in chosen.letters if not letter.retried_as]
    deleted, retried, refused = 0, dict[str, str](), dict[str, str]()
    try:
        if action == "delete":
            deleted = fleet.letters.delete(ids)
        for task_id in fresh if action == "retry" else ():
            try:
                retried[task_id] = retry_letter(fleet.app, fleet.letters, task_id, actor.name)
            except RetryError as error:
                refused[task_id] = str(error)
    finally:  # what was done before Redis went away was done
        result = BulkResult(action=action, done=deleted or len(retried), retried=retried, refused=refused)
        if chosen.letters:
            _note_bulk(fleet, actor, asked, ids if action == "delete" else list(retried), result)
    return result


def info(letter: DeadLetter) -> DeadLetterInfo:
    """A letter as lists show it."""
    return DeadLetterInfo(**_fields(letter))


class _Chosen(NamedTuple):
    """The letters that a filter let through at a moment."""

    letters: tuple[DeadLetter, ...]
    total: int
    token: str


def _choose(fleet: "Fleet", asked: DeadLetterFilter, until: float) -> _Chosen:
    ids = list(_ids(fleet, asked, until))
    letters = fleet.letters.brief(ids[:CAP])
    return _Chosen(letters, len(letters) if asked.ids else len(ids), token_of(letters, until))


def token_of(letters: Sequence[DeadLetter], until: float) -> str:
    """Stands for these letters as they are: the moment, and a digest of their ids and what became of them."""
    state = json.dumps([[letter.task_id, letter.retried_as] for letter in letters])
    return f"{until:.6f}-{hashlib.sha256(state.encode()).hexdigest()[:40]}"


def _moment_of(token: str) -> float:
    try:
        return float(token.partition("-")[0])
    except ValueError:
        text = "this is no token of a preview: ask for one first"
        raise Invalid(text, errors=[("token", text)]) from None


def _ids(fleet: "Fleet", asked: DeadLetterFilter, until: float | None = None) -> Iterator[str]:
    """Newest first; those that were asked for by id in their order."""
    letters, facets = fleet.letters, asked.facets
    if asked.ids:
        if facets:
            text = "choose letters either by ids or by what they have"
            raise Invalid(text, errors=[("ids", text)])
        yield from dict.fromkeys(asked.ids)
        return
    if not _has_wildcards(asked.name):
        yield from letters.ids(until, **facets)
        return
    others = {name: value for name, value in facets.items() if name != "name"}
    names = [name for name in letters.counts()["name"] if fnmatchcase(name, asked.name)]
    meant = {task_id for name in names for task_id in letters.ids(name=name)}
    yield from (task_id for task_id in letters.ids(until, **others) if task_id in meant)


def _has_wildcards(name: str) -> bool:
    return bool(set("*?[") & set(name))


def _preview(chosen: _Chosen, rules: Discretion) -> BulkPreview:
    return BulkPreview(
        total=chosen.total,
        count=len(chosen.letters),
        skipped=sum(bool(letter.retried_as) for letter in chosen.letters),
        capped=chosen.total > len(chosen.letters),
        token=chosen.token,
        sample=[info(discreet(letter, rules)) for letter in chosen.letters[:_SAMPLE]],
    )


def _note_bulk(
    fleet: "Fleet", actor: "Actor", asked: DeadLetterFilter, touched: Sequence[str], result: BulkResult
) -> None:
    if asked.ids:
        subject = f"{len(asked.ids)} chosen"
    else:
        subject = " ".join(f"{name}={value}" for name, value in asked.facets.items()) or "all"
    note(
        fleet,
        actor,
        f"dlq.bulk_{result.action}",
        subject,
        "done" if result.done else "nothing done",
        done=result.done,
        refused=len(result.refused),
        ids=touched[:_NAMED],
    )


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {
        **{
            name: getattr(letter, name)
            for name in DeadLetterInfo.model_fields
            if name not in ("args", "kwargs")
        },
        "args": None if letter.args is None else list(letter.args),
        "kwargs": None if letter.kwargs is None else dict(letter.kwargs),
        "since": moment(letter.since),
        "failed_at": moment(letter.failed_at),
        "retried_at": moment(letter.retried_at),
        "priority": None if letter.priority is None else fleet_priority(letter.priority),
    }


def _missing(task_id: str) -> NotFound:
    return NotFound(
        f"there is no dead letter {task_id}: it was deleted, has expired, or there never was one",
        extra={"task_id": task_id},
    )


def _refusal(error: RetryError) -> NotFound | Conflict:
    if error.why == "missing":
        return _missing(error.task_id)
    if error.why == "retried":
        return Conflict(
            f"the dead letter {error.task_id} was retried before: it runs as {error.retried_as}",
            code="retried",
            extra={"task_id": error.task_id, "new_task_id": error.retried_as},
        )
    return Conflict(
        f"the dead letter {error.task_id} is being retried by somebody else at this moment: look again",
        code="busy",
        extra={"task_id": error.task_id},
    )
