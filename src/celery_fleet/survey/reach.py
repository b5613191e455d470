"""What a survey needs to reach: the connections that a face has opened."""

from pathlib import Path
from typing import Protocol

import redis
from celery import Celery

from celery_fleet.topology.model import Topology


class Reach(Protocol):
    """A fleet that can be looked at."""

    @property
    def app(self) -> Celery:
        """An app that reaches the fleet's broker."""

    @property
    def topology(self) -> Topology: ...

    @property
    def topology_path(self) -> Path: ...

    @property
    def broker(self) -> "redis.Redis":
        """The broker's database, where the queues are."""

    @property
    def state(self) -> "redis.Redis":
        """The fleet's own database."""

    @property
    def prefix(self) -> str:
        """What the keys in Redis begin with."""
