"""`fleet`: the program."""

import logging

import click

from .group import FleetGroup
from .session import Session

VERBS = {
    "status": ("status:status", "Is the fleet well? One look at Redis, workers, queues, dead letters."),
    "queues": ("queues:queues", "What waits, by queue and priority, and who consumes it."),
    "pools": ("workers:pools", "The worker pools: hosts, concurrency, busy, done."),
    "workers": ("workers:workers", "Each worker: its lease, host, process, load."),
    "tasks": ("tasks:tasks", "Find tasks, and see one in full."),
    "dlq": ("dlq:dlq", "Dead letters: list, show, retry, delete, purge."),
    "submit": ("submit:submit", "Send a task."),
    "cancel": ("cancel:cancel", "Cancel tasks, for good."),
    "pause": ("pausing:pause", "Pause a queue: what is sent to it waits."),
    "resume": ("pausing:resume", "Resume a queue."),
    "drain": ("pausing:drain", "Have a worker, or a pool, take nothing more."),
    "undrain": ("pausing:undrain", "Have it take tasks again."),
    "recover": ("recover:recover", "Give back the work of a worker that does not return."),
    "deploys": ("deploys:deploys", "Deployments: which release, when, by whom, where."),
    "topology": ("topology:topology", "Check or show the topology file."),
    "celery": ("celery:celery", "Celery's own commands against this fleet."),
}


@click.group(
    cls=FleetGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 well, 1 the answer is a problem or not found, 2 wrong usage, 3 Redis not reachable. "
    "Colours: on a terminal, unless NO_COLOR is set.",
)
@click.option(
    "--with-app",
    is_flag=True,
    envvar="CELERY_FLEET_CLI_WITH_APP",
    help="Import the app instead of only its topology: for apps with settings of their own for the broker, "
    "such as a key prefix.",
)
@click.version_option(package_name="celery-fleet", message="%(prog)s %(version)s")
@click.pass_context
def fleet(ctx: click.Context, with_app: bool) -> None:
    """Look at a Celery fleet, and act on it, from any of its hosts.

    Every verb has --help with examples; those that answer have --json, too.

    \b
      fleet status                       is all well?
      fleet queues                       what waits, and where?
      fleet tasks --state failure        what went wrong lately?
      fleet dlq retry --name 'app.*'     try it again
    """
    # What libraries log is for the journals of services; here errors are told once, at the end.
    logging.getLogger().addHandler(logging.NullHandler())
    ctx.obj = ctx.obj or Session(with_app=with_app)
