"""A good fleet, and small changes to it. A change is a function that alters the fleet that it is given."""

import copy
from collections.abc import Callable
from typing import Any

Fleet = dict[str, Any]
Change = Callable[[Fleet], object]

SHARED: dict[str, Any] = {
    "celery_app": "shop.app:app",
    "celery_app_source": "src/shop",
    "celery_environment": {"SMTP_HOST": "mail.example.org", "WORKERS": 4, "DEBUG": False},
    "celery_time_limit": "30m",
    "celery_soft_time_limit": "25m",
    "celery_retry": {"max_retries": 3, "delay": "10s"},
    "celery_queues": {
        "celery": None,
        "email": {"priority": 3, "urgency": "urgent", "time_limit": 60, "soft_time_limit": 50},
        "bulk": {"retry": {"max_retries": "forever", "max_age": None}},
    },
    "celery_task_routes": [
        {"task": "shop.email.urgent", "queue": "email", "priority": 9},
        {"task": "shop.email.*", "queue": "email", "time_limit": 40, "soft_time_limit": 30},
        {"task": "shop.report", "queue": "bulk"},
    ],
    "celery_beat_schedule": {
        "clean": {"task": "shop.clean", "schedule": "5m"},
        "report": {"task": "shop.report", "schedule": "0 6 * * mon-fri", "args": [1], "queue": "bulk"},
    },
}
POOLS: dict[str, dict[str, Any]] = {
    "worker1": {"default": {"queues": ["celery", "email"]}},
    "worker2": {"bulk": {"queues": ["bulk"], "kind": "gevent", "environment": {"TOKEN": "s3cret"}}},
}
ADDRESSES = {"redis1": "10.0.0.1", "worker1": "10.0.0.2", "worker2": "10.0.0.3"}


def good_fleet() -> Fleet:
    """Redis, Beat and monitoring on one host, two workers."""
    return {
        "groups": {
            "redis": ["redis1"],
            "workers": ["worker1", "worker2"],
            "beat": ["redis1"],
            "monitoring": ["redis1"],
        },
        "hosts": {
            name: {
                "address": address,
                "vars": copy.deepcopy(SHARED)
                | ({"celery_worker_pools": copy.deepcopy(POOLS[name])} if name in POOLS else {}),
            }
            for name, address in ADDRESSES.items()
        },
    }


def variables(host: str = "worker1", **changes: Any) -> dict[str, Any]:
    """The variables of one host of the good fleet, with changes."""
    return {**good_fleet()["hosts"][host]["vars"], **changes}


def every(*path: str | int, to: Any) -> Change:
    """A value set at a path into the variables of every host."""
    return both(*(one(host, *path, to=to) for host in ADDRESSES))


def one(host: str, *path: str | int, to: Any) -> Change:
    """A value set at a path into the variables of one host."""

    def change(fleet: Fleet) -> None:
        here = fleet["hosts"][host]["vars"]
        for key in path[:-1]:
            if not isinstance(here, list) and here.get(key) is None:
                here[key] = {}
            here = here[key]
        here[path[-1]] = copy.deepcopy(to)

    return change


def unset(name: str) -> Change:
    return lambda fleet: [host["vars"].pop(name) for host in fleet["hosts"].values()]


def pool(**settings: Any) -> Change:
    """Settings of the pool `default` of worker1."""
    return both(
        *(one("worker1", "celery_worker_pools", "default", key, to=settings[key]) for key in settings)
    )


def bulk_pool(**settings: Any) -> Change:
    """Settings of the gevent pool `bulk` of worker2."""
    return both(*(one("worker2", "celery_worker_pools", "bulk", key, to=settings[key]) for key in settings))


def new_route(**settings: Any) -> Change:
    """One more route at the end, on every host."""
    return lambda fleet: [
        host["vars"]["celery_task_routes"].append(settings) for host in fleet["hosts"].values()
    ]


def address(host: str, value: object) -> Change:
    return lambda fleet: fleet["hosts"][host].update(address=value)


def groups(**members: Any) -> Change:
    return lambda fleet: fleet["groups"].update(members)


def both(*changes: Change) -> Change:
    """One change after another."""
    return lambda fleet: [change(fleet) for change in changes]
