"""`fleet status`"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.health import PROBLEM, BeatReading, Finding, RedisReading, headline, judge
from celery_fleet.survey.reading import look_at_beat, look_at_queues, look_at_redis, look_at_staff
from celery_fleet.survey.roster import ALIVE, SILENT, Worker
from celery_fleet.topology.problem import counted
from celery_fleet.topology.units import human_duration, human_size

from . import exits
from .options import json_option, timeout_option, with_session
from .output import BAD, GOOD, WARNING, paint, print_facts, print_json
from .pausing import read_pauses
from .session import Session
from .stores import dead_letters


@click.command()
@json_option
@timeout_option()
@with_session
def status(session: Session, as_json: bool, timeout: float) -> int:
    """Is the fleet well? The first line says it; exit code 1 when something is wrong.

    Expected are the workers that hold a lease, those that answer, and the pools of this host. A worker that was
    stopped properly gives its lease back, and is expected no more on other hosts.

    \b
    Examples:
      fleet status
      fleet status --json | jq .health
      fleet status >/dev/null || echo "somebody look at the fleet"
    """
    redis = look_at_redis(session.broker)
    staff = look_at_staff(session, timeout)
    backlogs = look_at_queues(session)
    consumed = frozenset(staff.consumers) if staff.complete else None
    beat = look_at_beat(session)
    findings = judge(redis, staff.workers, backlogs, consumed, read_pauses(session), beat=beat)
    data = {
        "health": headline(findings),
        "findings": [asdict(finding) for finding in findings],
        "redis": asdict(redis),
        "workers": counts_of_workers(staff.workers),
        "queues": counts_of_queues(backlogs),
        "dead_letters": dead_letters(session).count(),
        "periodic_tasks": beat.entries,
        "beat": {"alive": beat.alive, "age": beat.age},
    }
    if as_json:
        print_json(data)
    else:
        _show(data, redis, beat, findings)
    return exits.PROBLEM if any(finding.level == PROBLEM for finding in findings) else exits.OK


def counts_of_workers(workers: Sequence[Worker]) -> dict[str, int]:
    """`known` are those that should be alive; `busy` and `slots` are of those that answered."""
    return {
        "alive": sum(worker.state in (ALIVE, SILENT) for worker in workers),
        "known": len(workers),
        "busy": sum(worker.busy or 0 for worker in workers),
        "slots": sum(worker.concurrency or 0 for worker in workers),
    }


def counts_of_queues(backlogs: Sequence[Backlog]) -> dict[str, int]:
    return {
        name: sum(getattr(backlog, name) for backlog in backlogs) for name in ("waiting", "parked", "unacked")
    }


def _show(
    data: Mapping[str, Any], redis: RedisReading, beat: BeatReading, findings: Sequence[Finding]
) -> None:
    line = f"The fleet is {data['health']}" if not findings else f"The fleet has {data['health']}"
    worst = next((finding.level for finding in findings), None)
    click.echo(paint(line, {None: GOOD, PROBLEM: BAD}.get(worst, WARNING)))
    click.echo()
    workers, queues, letters = data["workers"], data["queues"], data["dead_letters"]
    print_facts(
        [
            ("Redis", _redis(redis)),
            (
                "Workers",
                f"{workers['alive']} of {workers['known']} alive, {workers['busy']} of {workers['slots']} slots busy",
            ),
            (
                "Queues",
                f"{queues['waiting']} waiting, {queues['unacked']} with workers, {queues['parked']} due later",
            ),
            ("Dead letters", f"{letters}" + (", see `fleet dlq list`" if letters else "")),
            ("Beat", f"{_beat(beat)}, {counted(beat.entries, 'periodic task')}"),
        ]
    )
    if findings:
        click.echo()
        for finding in findings:
            click.echo(
                f"{paint(finding.level, BAD if finding.level == PROBLEM else WARNING)}: {finding.text}"
            )


def _beat(beat: BeatReading) -> str:
    if beat.age is None:
        return "never seen"
    return "alive" if beat.alive else f"last seen {human_duration(int(beat.age))} ago"


def _redis(redis: RedisReading) -> str:
    if redis.version is None:
        return "reachable; this user may not ask for more"
    limit = human_size(redis.limit) if redis.limit else "no limit"
    kept = "append-only file" if redis.append_only else "no append-only file"
    failed = "" if redis.last_write_ok else ", the last write failed"
    return f"{redis.version}, {human_size(redis.used or 0)} of {limit}, {kept}{failed}"
