"""The fleet as the console reaches it: one for a process, used by many threads at once."""

from pathlib import Path
from typing import Annotated, cast

import redis
from celery import Celery
from fastapi import Depends, Request

from celery_fleet.delivery.keys import Keys
from celery_fleet.install import bare_app
from celery_fleet.policy.hasty import hasty
from celery_fleet.policy.variables import with_variables
from celery_fleet.store.audit import Audit
from celery_fleet.store.catalogue import Catalogue
from celery_fleet.store.connection import broker_client, key_prefix, state_client
from celery_fleet.store.deadletters import DeadLetters
from celery_fleet.store.deploys import Deploys
from celery_fleet.store.figures import Figures
from celery_fleet.store.index import TaskIndex
from celery_fleet.store.presence import Presences
from celery_fleet.store.schedules import Schedules
from celery_fleet.topology.discretion import Discretion
from celery_fleet.topology.load import load_topology
from celery_fleet.topology.model import Topology

from .results import backend_for
from .settings import Settings


class Fleet:
    """What the functions of the console work on; satisfies `survey.reach.Reach`."""

    app: Celery
    """Without tasks: it sends by name, and nothing of the user's is imported."""
    topology: Topology
    topology_path: Path
    broker: "redis.Redis"
    state: "redis.Redis"

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet. Raises ValueError, InvalidTopology, InstallError."""
        environment = settings.environment
        if environment.topology is None:
            raise ValueError("CELERY_FLEET_TOPOLOGY names no topology file")
        if not environment.broker_url:
            raise ValueError("CELERY_BROKER_URL names no broker")
        self.settings = settings
        self.topology_path = environment.topology
        self.topology = topology = with_variables(load_topology(self.topology_path), settings.variables)
        self.discretion = Discretion(topology)
        self.app = app = hasty(bare_app(environment, topology))
        results = settings.variables.get("CELERY_RESULT_BACKEND", "")
        app.backend_cls = backend_for(results)
        app.conf.update(
            result_backend=results or None,
            result_backend_thread_safe=True,  # it looks results up, and waits for none
            # A connection that Redis has closed since its last use is noticed by its next one.
            task_publish_retry=True,
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
        )
        app.finalize()
        self.broker = broker_client(app)
        self.state = state_client(app)
        self.prefix = key_prefix(app)
        self.keys = Keys(self.prefix)
        limits = topology.dead_letter_limit, topology.dead_letter_age
        self.letters = DeadLetters(self.state, *limits, self.prefix)
        self.index = TaskIndex(self.state, topology.task_index_limit, topology.dead_letter_age, self.prefix)
        self.audit = Audit(self.state, self.prefix)
        self.figures = Figures(self.state, self.prefix)
        self.presences = Presences(self.state, self.prefix)
        self.catalogue = Catalogue(self.state, self.prefix)
        self.schedules = Schedules(self.state, self.prefix)
        self.deploys = Deploys(self.state, self.prefix)

    def parameters(self, task: str) -> tuple[str, ...]:
        """The names of a task's positional parameters, as far as workers have told."""
        known = self.catalogue.get(task) if task else None
        return tuple(each.name for each in known.parameters if each.kind == "positional") if known else ()

    def close(self) -> None:
        """Ends its connections."""
        self.broker.close()
        self.state.close()
        self.app.close()


def fleet_of(request: Request) -> Fleet:
    return cast(Fleet, request.app.state.fleet)


FleetOf = Annotated[Fleet, Depends(fleet_of)]
"""In the signature of a route: the fleet."""
