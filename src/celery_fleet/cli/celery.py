"""`fleet celery`"""

import os
import sys
from typing import NoReturn

import click


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def celery(arguments: tuple[str, ...]) -> NoReturn:
    """Celery's own command with the fleet's settings; the same as `fleet-celery`.

    \b
    Examples:
      fleet celery inspect active
      fleet celery inspect stats --json
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "celery_fleet.app", *arguments])  # noqa: S606
