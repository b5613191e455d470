"""Topologies for tests."""

from typing import Any

from celery_fleet.topology.document import topology_document
from celery_fleet.topology.load import read_document
from celery_fleet.topology.model import Topology

QUEUES = {
    "celery": {},
    "email": {"priority": 3, "time_limit": 60, "soft_time_limit": 50},
    "urgent": {"priority": 10},
}
ROUTES = [
    {"task": "mail.now", "queue": "urgent"},
    {"task": "mail.*", "queue": "email"},
    {"task": "gather", "queue": "celery", "time_limit": 600, "soft_time_limit": 540, "priority": 8},
]


def make(**changes: Any) -> Topology:
    """The topology of inventory variables."""
    variables = {"celery_app": "a:app", "celery_queues": QUEUES, "celery_task_routes": ROUTES, **changes}
    return read_document(topology_document(variables))
