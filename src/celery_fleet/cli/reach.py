"""Apps that the verbs reach the fleet by."""

from collections.abc import Mapping
from dataclasses import replace

from celery import Celery

from celery_fleet.install import bare_app as make_bare_app
from celery_fleet.install import install, load_app
from celery_fleet.policy.hasty import hasty
from celery_fleet.service.environment import Environment
from celery_fleet.topology.model import Topology


def bare_app(environment: Environment, topology: Topology) -> Celery:
    """An app without tasks. What it cannot reach it gives up soon: somebody waits for the answer.

    For the same reason it makes no traces; those of the tasks that it sends again go on behind it.
    """
    return hasty(make_bare_app(replace(environment, tracing=False), topology))


def user_app(variables: Mapping[str, str]) -> Celery:
    """The fleet's own app with every task that it registers. Raises InstallError."""
    app = load_app(Environment.read(variables).app)
    install(app, variables)
    app.loader.import_default_modules()
    return hasty(app)
