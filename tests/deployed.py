"""What the role celery_worker makes of an inventory: the environment and the command line of a pool's service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from celery_fleet.topology.plan import plan_host
from templates.rendering import ROLES, render

_START = re.compile(r"^ExecStart=.*/bin/(?:python -m )?(?P<program>[\w.-]+) (?P<arguments>.+)$", re.MULTILINE)
_LINE = re.compile(r'(?P<name>[A-Z_0-9]+)=(?P<quote>"?)(?P<value>.*)(?P=quote)')


def pool_environments(variables: Mapping[str, Any], memory: int = 8 << 30) -> dict[str, dict[str, str]]:
    """The environment of each pool of `celery_worker_pools`, on a host of two CPUs with so many bytes, by pool.

    Its CELERY_WORKER_OPTIONS are those of the command line. The log goes to the standard output only.
    """
    plan = plan_host(variables, name="host", groups=["workers"], cpus=2, memory=memory)
    pools = plan.as_dict()["pools"]
    return {
        name: _variables(
            render(
                "celery_worker",
                "pool.env.j2",
                {"item": {"key": name, "value": pool}, "celery_log_files": False},
            )
        )
        for name, pool in pools.items()
    }


def worker_command(hostname: str, options: str) -> list[str]:
    """What the unit of a pool runs with the Python of its release: `-m`, a module, and its arguments."""
    unit = (ROLES / "celery_worker" / "templates" / "celery-worker@.service.j2").read_text()
    found = _START.search(unit)
    if not found:
        raise ValueError("the unit of the role celery_worker starts no worker that is known here")
    text = found["arguments"].replace("%i@%H", hostname).replace("$CELERY_WORKER_OPTIONS", options)
    return ["-m", found["program"].replace("-", "_"), *text.split()]


def _variables(text: str) -> dict[str, str]:
    return {match["name"]: match["value"] for match in map(_LINE.fullmatch, text.splitlines()) if match}
