"""`fleet topology`"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from celery_fleet.topology.load import load_topology, read_document
from celery_fleet.topology.model import RetryPolicy, TaskSettings, Topology
from celery_fleet.topology.problem import InvalidTopology, Problem, counted, location
from celery_fleet.topology.units import human_duration

from .exits import OK, PROBLEM
from .options import json_option, with_session
from .output import BAD, GOOD, paint, print_facts, print_json, print_table
from .session import Session


@click.group()
def topology() -> None:
    """The topology file of this host: queues, routes, limits and retries, as the inventory has resolved them.

    \b
    Examples:
      fleet topology check
      fleet topology show --task app.reports.monthly
    """


@topology.command()
@click.argument("file", required=False)
@json_option
@with_session
def check(session: Session, file: str | None, as_json: bool) -> int:
    """Check FILE (- for standard input), or the file of this host. Every fault is told, with its remedy.

    \b
    Examples:
      fleet topology check
      fleet topology check - < topology.json
    """
    name = file or str(session.topology_path)
    problems: list[Problem] = []
    try:
        found = _read(name)
    except InvalidTopology as error:
        problems = error.problems
    if as_json:
        print_json({"file": name, "ok": not problems, "problems": [_problem_data(each) for each in problems]})
    elif problems:
        click.echo(paint(f"{name} has {counted(len(problems), 'problem')}:", BAD))
        for problem in problems:
            click.echo(f"  - {problem}")
    else:
        parts = (
            counted(len(found.queues), "queue"),
            counted(len(found.routes), "route"),
            counted(len(found.beat), "periodic task"),
        )
        click.echo(f"{paint('good', GOOD)}: {name} has {', '.join(parts)}")
    return PROBLEM if problems else OK


@topology.command()
@click.option("--task", metavar="NAME", help="Only how a task of this name is run.")
@json_option
@with_session
def show(session: Session, task: str | None, as_json: bool) -> int:
    """Show the queues and routes of this host's topology, or how one task is run.

    \b
    Examples:
      fleet topology show
      fleet topology show --task app.reports.monthly --json
    """
    found = session.topology
    if task:
        settings = found.settings_for(task)
        if as_json:
            print_json({"task": task, **asdict(settings)})
        else:
            print_facts([("task", task), *_facts(settings)])
    elif as_json:
        print_json(asdict(found))
    else:
        _show(found)
    return OK


def _read(name: str) -> Topology:
    if name != "-":
        # The wrapper of the hosts changes the directory, and says where it was called.
        return load_topology(Path(os.environ.get("CELERY_FLEET_CALLED_IN", "")) / name)
    try:
        content = json.loads(sys.stdin.read())
    except ValueError as error:
        raise InvalidTopology(
            [Problem((), f"it is not JSON: {error}", "give a topology file")], name
        ) from error
    return read_document(content, source="standard input")


def _problem_data(problem: Problem) -> dict[str, str]:
    return {"where": location(problem.where), "what": problem.what, "remedy": problem.remedy}


def _show(found: Topology) -> None:
    print_facts([("app", found.app), ("default queue", found.default_queue), ("delivery", found.delivery)])
    click.echo()
    print_table(
        ["QUEUE", "PRIORITY", "URGENCY", "LIMIT", "SOFT", "RETRIES"],
        [
            [
                queue.name,
                queue.settings.priority,
                queue.urgency,
                human_duration(queue.settings.time_limit),
                _duration(queue.settings.soft_time_limit),
                retries(queue.settings.retry),
            ]
            for queue in found.queues.values()
        ],
    )
    if found.routes:
        click.echo()
        print_table(
            ["TASK", "QUEUE", "PRIORITY", "LIMIT", "RETRIES"],
            [
                [
                    route.task,
                    route.settings.queue,
                    route.settings.priority,
                    human_duration(route.settings.time_limit),
                    retries(route.settings.retry),
                ]
                for route in found.routes
            ],
        )
    if found.beat:
        click.echo()
        print_table(
            ["PERIODIC TASK", "TASK", "EVERY", "QUEUE"],
            [
                [
                    entry.name,
                    entry.task,
                    entry.schedule if isinstance(entry.schedule, str) else human_duration(entry.schedule),
                    entry.queue or found.queue_for(entry.task).name,
                ]
                for entry in found.beat.values()
            ],
        )


def _facts(settings: TaskSettings) -> list[tuple[str, str]]:
    return [
        ("queue", settings.queue),
        ("priority", str(settings.priority)),
        ("time limit", human_duration(settings.time_limit)),
        ("soft time limit", _duration(settings.soft_time_limit)),
        ("retries", retries(settings.retry)),
        ("retried for", ", ".join(settings.retry.exceptions) or "nothing"),
        ("max deliveries", str(settings.max_deliveries)),
    ]


def _duration(seconds: int | None) -> str:
    return "none" if seconds is None else human_duration(seconds)


def retries(policy: RetryPolicy) -> str:
    """A retry policy in a few words."""
    if policy.max_retries == 0:
        return "none"
    count = "for ever" if policy.max_retries is None else str(policy.max_retries)
    words = f"{count}, {human_duration(policy.delay)} x{policy.backoff:g} up to {human_duration(policy.max_delay)}"
    if policy.max_age is not None:
        words += f", for {human_duration(policy.max_age)}"
    return f"{words}, to {policy.queue}" if policy.queue else words
