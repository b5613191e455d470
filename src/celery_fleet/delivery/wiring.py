"""Puts atomic delivery under an app."""

from typing import Any

from celery import Celery

from celery_fleet.store.connection import key_prefix, state_client
from celery_fleet.store.deadletters import DeadLetters, letter_of
from celery_fleet.store.discreet import kept
from celery_fleet.topology.discretion import Discretion
from celery_fleet.topology.model import Topology

from . import results, transport
from .ownership import Ownership, Policy
from .restore import Rules


def send_atomically(app: Celery) -> None:
    """Its connections are those of this package: what it sends wakes workers, and is parked when it is due later."""
    transport.use()
    app.loader.override_backends = {**results.SCHEMES, **app.loader.override_backends}


def deliver_atomically(app: Celery, topology: Topology, node: str) -> None:
    """Its connections claim atomically; its workers own the node before they consume."""
    send_atomically(app)
    policy = Policy(node, topology.recovery_timeout, rules(app, topology))
    app.steps["consumer"].add(Ownership.by(policy))


def is_atomic(app: Celery) -> bool:
    """Whether the app sends so that its workers claim."""
    return bool(app.loader.override_backends.get("redis") == results.SCHEMES["redis"])


def rules(app: Celery, topology: Topology) -> Rules:
    """How the messages of the app are put back, and what becomes of those that kill their workers."""

    def limit(name: str, queue: str) -> int:
        settings = topology.settings_for(name)
        # A task that is tried again in a queue of retries keeps its own limits.
        if queue not in (settings.queue, settings.retry.queue) and queue in topology.queues:
            settings = topology.queues[queue].settings
        return settings.max_deliveries

    discretion = Discretion(topology)

    def set_aside(message: str, reason: str, queue: str) -> None:
        known: dict[str, Any] = {"queue": queue} if queue else {}
        limits = topology.dead_letter_limit, topology.dead_letter_age
        letters = DeadLetters(state_client(app), *limits, key_prefix(app))
        letters.add(kept(letter_of(message, reason=reason, **known), discretion))

    steps = tuple(app.conf.broker_transport_options.get("priority_steps", (0, 3, 6, 9)))
    return Rules(steps, limit, set_aside)
