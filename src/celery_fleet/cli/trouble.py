"""What an exception of Redis, kombu or Celery means to an operator, and what to do."""

import click
import redis
from kombu.exceptions import OperationalError

from celery_fleet.delivery.agreement import Disagreement
from celery_fleet.delivery.lease import NodeTaken
from celery_fleet.install import InstallError
from celery_fleet.topology.problem import InvalidTopology

from .exits import Problem, Unreachable, Unusable, one_line

_REFUSED = (redis.AuthenticationError, redis.exceptions.NoPermissionError)


def explained(error: Exception) -> click.ClickException:
    """The error in one line, with its exit code."""
    text = one_line(error).rstrip(".")
    if isinstance(error, _REFUSED):
        return Unreachable(
            f"Redis refuses this user: {text}. Run it as `sudo fleet`; a user that is new in the inventory "
            "needs a run of the playbook."
        )
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OperationalError | ConnectionError):
        return Unreachable(
            f"Redis cannot be reached: {text}. Look at `systemctl status redis-server` on its host, and at the "
            "address in /etc/celery-fleet/fleet.env."
        )
    if isinstance(error, redis.RedisError):
        return Unreachable(f"Redis answers with an error: {text}.")
    if isinstance(error, Disagreement | NodeTaken):
        return Problem(f"{text}.")
    if isinstance(error, InvalidTopology | InstallError):
        return Unusable(f"{text}.")
    return Problem(
        f"unexpected {type(error).__name__}: {text}. This is a fault of fleet: CELERY_FLEET_DEBUG=1 shows where."
    )
