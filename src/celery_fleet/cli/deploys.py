"""`fleet deploys`"""

from dataclasses import asdict

import click

from celery_fleet.store.deploys import LIMIT, Deploys

from .exits import OK
from .group import DefaultGroup
from .options import json_option, with_session
from .output import age, ago, moment, print_json, print_table
from .session import Session
from .stores import actor


@click.group(cls=DefaultGroup, default="list")
def deploys() -> None:
    """Deployments: which release, when, by whom, on which hosts.

    `ansible-playbook` notes each that changes what runs. They are the vertical lines of charts.

    \b
    Examples:
      fleet deploys
      fleet deploys note 3f0c2a1b9d4e --host worker1    # a deployment that was made by other means
    """


@deploys.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT),
    default=10,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@json_option
@with_session
def list_(session: Session, limit: int, as_json: bool) -> int:
    """The last deployments, newest first.

    \b
    Examples:
      fleet deploys --limit 3
      fleet deploys --json | jq -r '.deploys[0].release'
    """
    found = _store(session).list(limit)
    if as_json:
        print_json({"deploys": [asdict(each) for each in found]})
        return OK
    print_table(
        ["RELEASE", "WHEN", "AGO", "BY", "HOSTS"],
        [
            [
                f"{each.release} (back)" if each.rollback else each.release,
                moment(each.at),
                age(ago(each.at)),
                each.by,
                " ".join(each.hosts) or None,
            ]
            for each in found
        ],
        "no deployment was noted",
        whole=("RELEASE",),
    )
    return OK


@deploys.command()
@click.argument("release")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="That runs it now; may be repeated.")
@click.option("--by", default="", metavar="NAME", help="Who deployed; without it, who calls.")
@click.option("--rollback", is_flag=True, help="It was a way back.")
@json_option
@with_session
def note(
    session: Session, release: str, *, hosts: tuple[str, ...], by: str, rollback: bool, as_json: bool
) -> int:
    """Note that a release was deployed.

    \b
    Examples:
      fleet deploys note 3f0c2a1b9d4e --host worker1 --host worker2
      fleet deploys note 9c3e1d5f7a60 --rollback
    """
    found = _store(session).note(release, by or actor(), hosts, rollback)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(f"{found.release}: noted")
    return OK


def _store(session: Session) -> Deploys:
    return Deploys(session.state, session.prefix)
