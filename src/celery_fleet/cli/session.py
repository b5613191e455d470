"""What the verbs work on: the environment, the topology and, once one asks for them, the connections."""

import os
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from celery_fleet.policy.priority import broker_priority
from celery_fleet.policy.variables import with_variables
from celery_fleet.service.environment import Environment
from celery_fleet.topology.load import load_topology
from celery_fleet.topology.model import Topology
from celery_fleet.topology.problem import InvalidTopology

from .exits import Unusable

if TYPE_CHECKING:
    import redis
    from celery import Celery

_WHERE = "Run it on a host of the fleet, as `sudo fleet`."


class Session:
    """One call of the program. Whatever takes time to import or to connect is made when it is first asked for."""

    def __init__(self, variables: Mapping[str, str] = os.environ, with_app: bool = False) -> None:
        self._variables = variables
        self._with_app = with_app

    @cached_property
    def environment(self) -> Environment:
        return Environment.read(self._variables)

    @cached_property
    def topology_path(self) -> Path:
        return topology_path(self._variables)

    @cached_property
    def topology(self) -> Topology:
        """As the workers have it: the file, and what the environment changes. Raises InvalidTopology."""
        try:
            return with_variables(load_topology(self.topology_path), self._variables)
        except InvalidTopology:
            raise
        except ValueError as error:
            raise Unusable(f"{error}.") from error

    @cached_property
    def app(self) -> "Celery":
        """An app that reaches what the fleet's own app does, and has no tasks: nothing of the user's is imported."""
        if self._with_app:
            return self.user_app
        if not self.environment.broker_url:
            raise Unusable(f"CELERY_BROKER_URL names no broker. {_WHERE}")
        app: Celery = import_module(".reach", __package__).bare_app(self.environment, self.topology)
        return app

    @cached_property
    def user_app(self) -> "Celery":
        """The fleet's own app, with its tasks."""
        app: Celery = import_module(".reach", __package__).user_app(self._variables)
        return app

    @cached_property
    def broker(self) -> "redis.Redis":
        """The broker's database, where the queues are."""
        client: redis.Redis = import_module("celery_fleet.store.connection").broker_client(self.app)
        return client

    @cached_property
    def prefix(self) -> str:
        """What the keys in Redis begin with."""
        return str(import_module("celery_fleet.store.connection").key_prefix(self.app))

    @cached_property
    def state(self) -> "redis.Redis":
        """The fleet's own database: dead letters, index, audit."""
        client: redis.Redis = import_module("celery_fleet.store.connection").state_client(self.app)
        return client

    def as_app_counts(self, priority: int) -> int:
        """A priority from 1 to 10 as the code of the fleet's own app gives it."""
        scale = import_module("celery_fleet.policy.variables").priority_scale(self._variables)
        return int(scale.from_message(broker_priority(priority)))


def topology_path(variables: Mapping[str, str]) -> Path:
    """The topology file of this host. Raises Unusable."""
    path = Environment.read(variables).topology
    if path is None:
        raise Unusable(f"CELERY_FLEET_TOPOLOGY names no topology file. {_WHERE}")
    return path
