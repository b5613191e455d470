"""`python -m celery_fleet.exporter`: the service, or one look."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from celery_fleet import __version__
from celery_fleet.install import InstallError
from celery_fleet.service.environment import Environment
from celery_fleet.service.logs import configure_logging
from celery_fleet.topology.problem import InvalidTopology

from .server import Exporter, serve
from .settings import Settings

log = logging.getLogger(__name__)

_EPILOG = """\
environment:
  CELERY_FLEET_TOPOLOGY             the fleet's topology file
  CELERY_BROKER_URL                 redis://USER@HOST:PORT/0
  CELERY_FLEET_REDIS_PASSWORD_FILE  the password of that user
  CELERY_EXPORTER_LISTEN            where to listen (127.0.0.1:9808)
  CELERY_EXPORTER_CERTIFICATE_FILE  by TLS, with this certificate, and CELERY_EXPORTER_CERTIFICATE_KEY_FILE
  CELERY_EXPORTER_EXPECTED          JSON file: [{"worker": "POOL@HOST", "pool": "POOL", "hostname": "HOST"}, ...]
  CELERY_EXPORTER_SLOS              JSON file: {QUEUE: {"queueing": 10, "execution": 10}, ...}

/metrics answers whether or not Redis does: see celery_exporter_redis_up. /healthz is 503 when it does not.
"""


def main(arguments: Sequence[str] | None = None, variables: Mapping[str, str] = os.environ) -> int:
    """The exit status: 2 for settings that cannot be used, 1 when it cannot listen or, once, Redis is away."""
    parser = argparse.ArgumentParser(
        prog="python -m celery_fleet.exporter",
        description="The figures of a Celery fleet for Prometheus. Reads Redis alone, and asks no worker.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--once", action="store_true", help="print the metrics, and end")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    asked = parser.parse_args(arguments)
    try:
        configure_logging(Environment.read(variables), logging.INFO)
        exporter = Exporter(Settings.read(variables))
    except (ValueError, OSError, InvalidTopology, InstallError) as error:
        sys.stderr.write(f"celery-exporter: {error}\n")
        return 2
    if asked.once:
        sys.stdout.write(exporter.metrics())
        return 0 if exporter.health()[0] else 1
    try:
        return serve(exporter, variables)
    except ValueError as error:
        sys.stderr.write(f"celery-exporter: {error}\n")
        return 2
    except OSError as error:
        settings = exporter.settings
        log.error("%s:%s cannot be listened on: %s", settings.host, settings.port, error.strerror or error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
