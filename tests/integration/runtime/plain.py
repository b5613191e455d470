"""The plain app, and topologies for it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from integration.support import Services

APP = "plainapp:app"
APPS = Path(__file__).parent / "apps"

VARIABLES: dict[str, Any] = {
    "celery_queues": {"celery": {}, "email": {"priority": 3}},
    "celery_task_routes": [{"task": "mail.*", "queue": "email"}],
    "celery_retry": {"delay": 1, "max_retries": 2},
    "celery_time_limit": 60,
    "celery_soft_time_limit": 50,
}


def environment_maker(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    """make(variables, queues) -> the environment of a pool that runs the plain app."""

    def make(variables: Mapping[str, Any] = VARIABLES, queues: str = "celery,email") -> dict[str, str]:
        return {**services.environment(APP, variables, APPS, queues), "PLAIN_RECORD": str(record)}

    return make


def with_route(task: str, **route: Any) -> dict[str, Any]:
    """VARIABLES with a route for one task of the plain app."""
    routes = [*VARIABLES["celery_task_routes"], {"task": f"plainapp.{task}", "queue": "celery", **route}]
    return {**VARIABLES, "celery_task_routes": routes}


_CHANGED = """
import sys
from celery import maybe_patch_concurrency
maybe_patch_concurrency()  # as 'celery' does, before anything else is imported
{change}
from celery.__main__ import main
sys.argv[0] = "celery"
sys.exit(main())
"""


def changed(change: str) -> tuple[str, str]:
    """Starts `celery` with something changed by this code; for the `python` of a service."""
    return "-c", _CHANGED.format(change=change)
