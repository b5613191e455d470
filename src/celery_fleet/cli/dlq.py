"""`fleet dlq`"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import wraps
from itertools import islice
from typing import Any

import click

from celery_fleet.policy.priority import fleet_priority
from celery_fleet.store.catalogue import Catalogue
from celery_fleet.store.deadletters import REASONS, DeadLetter, DeadLetters, RetryError
from celery_fleet.store.discreet import discreet
from celery_fleet.store.retrying import retry as retry_letter
from celery_fleet.topology.discretion import Discretion
from celery_fleet.topology.problem import counted

from .exits import OK, PROBLEM, Problem
from .options import complete_queue, confirm, json_option, with_session, yes_option
from .output import age, ago, compact, moment, print_facts, print_json, print_table
from .session import Session
from .stores import actor, audit, dead_letters


@dataclass(frozen=True)
class Filters:
    """Which letters are meant; empty: all. `name` may have wildcards."""

    name: str = ""
    queue: str = ""
    reason: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return any((self.name, self.queue, self.reason, self.text))

    def ids(self, letters: DeadLetters) -> Iterator[str]:
        """The letters that pass, newest first of each name."""
        others = {"queue": self.queue, "reason": self.reason, "text": self.text}
        if not set("*?[") & set(self.name):
            yield from letters.ids(name=self.name, **others)
            return
        for name in sorted(letters.counts()["name"]):
            if fnmatchcase(name, self.name):
                yield from letters.ids(name=name, **others)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--name, --queue, --reason and --text, handed on as `filters`."""
    options = (
        click.option("--name", default="", metavar="NAME", help="Tasks of this name; * and ? match any."),
        click.option(
            "--queue", default="", metavar="QUEUE", shell_complete=complete_queue, help="From this queue."
        ),
        click.option("--reason", type=click.Choice(REASONS), help="Set aside for this reason."),
        click.option("--text", default="", help="With this text in id, name, arguments or error."),
    )

    @wraps(command)
    def with_filters(*args: Any, name: str, queue: str, reason: str | None, text: str, **options: Any) -> Any:
        return command(*args, filters=Filters(name, queue, reason or "", text), **options)

    decorated: Callable[..., Any] = with_filters
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


@click.group()
def dlq() -> None:
    """Dead letters: tasks that have failed for good, and messages that are no task.

    \b
    Examples:
      fleet dlq list --reason poison
      fleet dlq show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
      fleet dlq retry --name 'app.mail.*' --yes
    """


@dlq.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="After so many.")
@json_option
@with_session
def list_(session: Session, filters: Filters, limit: int, offset: int, as_json: bool) -> int:
    """List dead letters, newest first. AGO: how long ago it failed; RETRIED: the id it runs under now.

    \b
    Examples:
      fleet dlq list
      fleet dlq list --queue email --text timeout
      fleet dlq list --json | jq -r '.letters[].task_id'
    """
    letters, rules = dead_letters(session), Discretion(session.topology)
    found, total = read_page(letters, filters, offset, limit)
    found = [discreet(letter, rules) for letter in found]
    if as_json:
        print_json({"letters": [letter_data(letter) for letter in found], "total": total})
        return OK
    print_table(
        ["ID", "AGO", "NAME", "QUEUE", "REASON", "TRIES", "ERROR", "RETRIED"],
        [
            [
                letter.task_id,
                age(ago(letter.failed_at)),
                letter.name or None,
                letter.queue or None,
                letter.reason,
                letter.attempts,
                error_of(letter),
                letter.retried_as or None,
            ]
            for letter in found
        ],
        empty="no dead letters" + (" match" if filters else ""),
        whole=("ID",),
        optional=("TRIES", "RETRIED", "QUEUE"),
    )
    if len(found) < total:
        click.echo(f"{len(found)} of {total}; --offset {offset + len(found)} shows more.", err=True)
    return OK


@dlq.command()
@click.argument("task_id", metavar="ID")
@json_option
@with_session
def show(session: Session, task_id: str, as_json: bool) -> int:
    """Show one dead letter: its arguments, error and traceback, and whether it was retried.

    \b
    Examples:
      fleet dlq show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
      fleet dlq show 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55 --json | jq .args
    """
    letter = dead_letters(session).get(task_id)
    if letter is None:
        raise Problem(f"there is no dead letter {task_id}; `fleet dlq list` shows those that there are")
    known = Catalogue(session.state, session.prefix).get(letter.name) if letter.name else None
    names = [each.name for each in known.parameters if each.kind == "positional"] if known else []
    letter = discreet(letter, Discretion(session.topology), names)
    if as_json:
        print_json({**letter_data(letter), "message": letter.message, "traceback": letter.traceback})
        return OK
    print_facts(
        [
            ("id", letter.task_id),
            ("task", letter.name or None),
            ("queue", letter.queue or None),
            ("reason", letter.reason),
            ("error", error_of(letter)),
            ("arguments", None if letter.args is None else compact(letter.args)),
            ("named arguments", None if letter.kwargs is None else compact(letter.kwargs)),
            ("failed", f"{moment(letter.failed_at)} ({age(ago(letter.failed_at))} ago)"),
            ("first due", None if letter.since is None else moment(letter.since)),
            ("attempts", letter.attempts),
            ("processes lost", letter.losses or None),
            ("worker", letter.worker or None),
            ("priority", None if letter.priority is None else fleet_priority(letter.priority)),
            ("root", letter.root_id or None),
            ("parent", letter.parent_id or None),
            ("trace", letter.trace_id or None),
            ("retries letter", letter.origin or None),
            ("retried as", letter.retried_as or None),
            ("retried by", letter.retried_by or None),
            ("traceback", letter.traceback or None),
            ("message", letter.message if letter.args is None else None),
        ]
    )
    return OK


@dlq.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option(
    "--to",
    default="",
    metavar="QUEUE",
    shell_complete=complete_queue,
    help="Into another queue than they were in.",
)
@click.option("--force", is_flag=True, help="Also those that were retried before.")
@yes_option
@json_option
@with_session
def retry(
    session: Session,
    *,
    ids: tuple[str, ...],
    filters: Filters,
    everything: bool,
    to: str,
    force: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Run dead letters again, with the same arguments and new ids. Who asks twice runs it once.

    By ID, or in bulk by filters or --all, which asks first; those that were retried before are left out then.
    Exit code 1 when one was not retried.

    \b
    Examples:
      fleet dlq retry 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55
      fleet dlq retry --name 'app.mail.*' --reason exhausted
      fleet dlq retry --all --yes
    """
    letters = dead_letters(session)
    if to and to not in session.topology.queues:
        raise Problem(f"there is no queue {to!r}: nobody would consume it")
    chosen = list(_chosen(letters, ids, filters, everything))
    if not ids:
        if not force:
            chosen = [task_id for task_id in chosen if not _retried(letters, task_id)]
        if chosen:
            confirm(f"Retry {counted(len(chosen), 'dead letter')}?", yes)
    done: dict[str, str] = {}
    refused: dict[str, str] = {}
    for task_id in chosen:
        try:
            done[task_id] = retry_letter(session.app, letters, task_id, actor(), queue=to, force=force)
        except RetryError as error:
            refused[task_id] = error.why
            _complain(as_json, str(error))
            continue
        audit(session, "dlq.retry", task_id, retried_as=done[task_id])
        if not as_json:
            click.echo(f"{task_id} retried as {done[task_id]}")
    if as_json:
        print_json({"retried": done, "refused": refused})
    elif not chosen:
        click.echo("no dead letters match")
    return PROBLEM if refused else OK


@dlq.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@json_option
@with_session
def delete(session: Session, ids: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Delete dead letters by ID. Exit code 1 when one was not there.

    \b
    Examples:
      fleet dlq delete 7c0ec1ba-a3a1-4d3e-8c5e-4f1b8e4a3f55 --yes
    """
    confirm(f"Delete {counted(len(ids), 'dead letter')} for good?", yes)
    letters = dead_letters(session)
    deleted = [task_id for task_id in dict.fromkeys(ids) if letters.delete([task_id])]
    missing = [task_id for task_id in dict.fromkeys(ids) if task_id not in deleted]
    for task_id in deleted:
        audit(session, "dlq.delete", task_id)
    if as_json:
        print_json({"deleted": deleted, "missing": missing})
    else:
        click.echo(f"deleted {counted(len(deleted), 'dead letter')}")
        for task_id in missing:
            _complain(as_json, f"there is no dead letter {task_id}")
    return PROBLEM if missing else OK


@dlq.command()
@filter_options
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@yes_option
@json_option
@with_session
def purge(session: Session, filters: Filters, everything: bool, yes: bool, as_json: bool) -> int:
    """Delete dead letters in bulk, by filters or --all.

    \b
    Examples:
      fleet dlq purge --reason undecodable
      fleet dlq purge --all --yes
    """
    letters = dead_letters(session)
    chosen = list(_chosen(letters, (), filters, everything))
    if chosen:
        confirm(f"Delete {counted(len(chosen), 'dead letter')} for good?", yes)
    deleted = letters.delete(chosen)
    if chosen:
        asked = {name: value for name, value in asdict(filters).items() if value}
        audit(session, "dlq.purge", compact(asked) if asked else "all", deleted=deleted)
    if as_json:
        print_json({"deleted": deleted})
    else:
        click.echo(f"deleted {counted(deleted, 'dead letter')}")
    return OK


def read_page(
    letters: DeadLetters, filters: Filters, offset: int, limit: int
) -> tuple[list[DeadLetter], int]:
    """Some letters that pass, and how many do."""
    if not set("*?[") & set(filters.name):
        page = letters.list(offset, limit, **asdict(filters))
        return list(page.letters), page.total
    ids = list(filters.ids(letters))
    found = [letters.get(task_id) for task_id in islice(ids, offset, offset + limit)]
    return [letter for letter in found if letter], len(ids)


def letter_data(letter: DeadLetter) -> dict[str, Any]:
    """The documented fields; the message and the traceback are left to `show`."""
    data = {name: value for name, value in asdict(letter).items() if name not in ("message", "traceback")}
    return {**data, "priority": None if letter.priority is None else fleet_priority(letter.priority)}


def error_of(letter: DeadLetter) -> str | None:
    """The exception in one text."""
    if letter.exception and not letter.error.startswith(letter.exception):
        return f"{letter.exception}: {letter.error}"
    return letter.error or None


def _chosen(letters: DeadLetters, ids: Iterable[str], filters: Filters, everything: bool) -> Iterable[str]:
    ids = list(dict.fromkeys(ids))
    if sum((bool(ids), bool(filters), everything)) != 1:
        raise click.UsageError("Say which dead letters are meant, in one way: by ids, filters, or --all.")
    return ids or filters.ids(letters)


def _retried(letters: DeadLetters, task_id: str) -> bool:
    letter = letters.get(task_id)
    return bool(letter and letter.retried_as)


def _complain(as_json: bool, text: str) -> None:
    if not as_json:
        click.echo(f"fleet: {text}", err=True)
