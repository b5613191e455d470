"""`fleet recover`"""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.restore import restore
from celery_fleet.delivery.wiring import rules
from celery_fleet.survey.backlog import holders
from celery_fleet.survey.reading import forget, read_gone, read_leases
from celery_fleet.survey.roster import FRESH, Lease
from celery_fleet.topology.problem import counted

from .exits import OK, Problem
from .options import confirm, json_option, with_session, yes_option
from .output import age, print_json
from .session import Session
from .stores import audit


@click.command()
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--dead", is_flag=True, help="Every worker that has shown no sign of life for 10 s.")
@click.option(
    "--forget", "to_forget", is_flag=True, help="It is not to come back: `status` does not miss it any more."
)
@yes_option
@json_option
@with_session
def recover(
    session: Session, nodes: tuple[str, ...], *, dead: bool, to_forget: bool, yes: bool, as_json: bool
) -> int:
    """Give the work of dead workers back to their queues, now.

    Workers do it by themselves: at once when the dead one starts again, else when it has been silent for the
    recovery time-out of the topology. This is for not waiting, or for when no worker is left to do it. A worker that
    shows signs of life is refused; one that was only frozen ends itself when it wakes up.

    \b
    Examples:
      fleet recover default@worker3
      fleet recover --dead --yes
      fleet recover default@worker3 --forget
    """
    if bool(nodes) == dead:
        raise click.UsageError("Name the workers, or give --dead.")
    if session.topology.delivery != "atomic":
        raise Problem("celery_delivery is stock: Celery itself gives work back, after its visibility timeout")
    keys = Keys(session.prefix)
    holding = [node for node in holders(session.broker, keys) if node]
    # Who is gone holds nothing any more; it is there to be named, or to be forgotten.
    gone = list(read_gone(session)) if nodes or to_forget else []
    chosen = choose(nodes, read_leases(session), [*holding, *gone])
    if chosen:
        confirm(f"Give the work of {', '.join(chosen)} to others?", yes)
    how = rules(session.app, session.topology)
    done: dict[str, dict[str, Any]] = {}
    for node in chosen:
        restored = restore(session.broker, node, how, keys)
        done[node] = {"returned": restored.returned, "set_aside": restored.set_aside}
        audit(session, "worker.recover", node, forget=to_forget, **done[node])
        if to_forget:
            forget(session, node)
        if not as_json:
            aside = f", {counted(restored.set_aside, 'message')} set aside" if restored.set_aside else ""
            click.echo(f"{node}: {counted(restored.returned, 'message')} returned{aside}")
    if as_json:
        print_json({"recovered": done})
    elif not chosen:
        click.echo("no worker is dead")
    return OK


def choose(nodes: Sequence[str], leases: Sequence[Lease], others: Sequence[str]) -> list[str]:
    """The nodes to recover; without names: all that are dead. Raises Problem for one that lives, or is not known.

    `others`: nodes without a lease that hold work, or are known to be gone.
    """
    of: Mapping[str, Lease] = {lease.node: lease for lease in leases}
    if not nodes:
        stale = [lease.node for lease in leases if lease.age > FRESH]
        return sorted({*stale, *(node for node in others if node not in of)})
    for node in nodes:
        lease = of.get(node)
        if lease and lease.age <= FRESH:
            raise Problem(
                f"{node} is alive: process {lease.pid} on {lease.host} was heard of {age(lease.age)} ago. "
                "Stop it first, or wait until it has been silent for 10 s"
            )
        if lease is None and node not in others:
            raise Problem(f"no worker {node} is known; `fleet workers` shows the names")
    return list(dict.fromkeys(nodes))
