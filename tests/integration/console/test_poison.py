"""Messages that anybody may have written: none stops a pool, the console or the exporter, and none is lost without a word."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import httpx
import pytest

from celery_fleet.exporter.server import Exporter
from celery_fleet.exporter.settings import Settings
from celery_fleet.store.headers import LOST, ORIGIN, SINCE
from integration.console.conftest import Desk, wait_status
from integration.support import Service, eventually

SEEDS = range(300)
"""Each makes one message; the same in every run."""

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1e308, "", "x", "\x00", "\ud800", "é" * 3000, "y" * 200_000, [], {}, [[]], {"": {}},
    [None] * 50, "application/x-python-serialize", "gAR9lC4=", "0001-01-01T00:00:00", "{}", {"__type__": "x", "__value__": 1},
)  # fmt: skip

PATHS = (
    "/api/v1/queues", "/api/v1/queues/celery?limit=500", "/api/v1/tasks?limit=500", "/api/v1/tasks?state=PENDING",
    "/api/v1/dlq/failed-tasks?limit=500", "/api/v1/overview", "/api/v1/tasks/metrics", "/api/v1/tasks/health", "/metrics",
    "/ui", "/ui/queues", "/ui/queues/celery", "/ui/tasks", "/ui/tasks?state=failed", "/ui/dead-letters",
)  # fmt: skip


def message(number: int) -> dict[str, Any]:
    """One that is as Celery writes it."""
    identity = f"fuzz-{number}"
    headers = {
        "lang": "py", "task": "consoleapp.add", "id": identity, "root_id": identity, "parent_id": None, "group": None,
        "eta": None, "expires": None, "retries": 0, "timelimit": [None, None], "argsrepr": "(1,)", "kwargsrepr": "{}",
        "origin": "gen1@somewhere", "ignore_result": False, "stamps": {}, "stamped_headers": [], "replaced_task_nesting": 0,
        SINCE: 1.0, LOST: 0, ORIGIN: "", "traceparent": f"00-{number:032x}-{number:016x}-01",
    }  # fmt: skip
    return {
        "body": json.dumps([[1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": identity,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": None,
            "delivery_tag": identity,
        },
    }


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key below it."""
    keys = node.keys() if isinstance(node, Mapping) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from places(node[key])


def spoilt(number: int) -> bytes:
    """A message with something in it that should not be so, or something missing."""
    chance = random.Random(number)
    made = message(number)
    if number % 3 == 0:  # the same within the body
        body = json.loads(made["body"])
        node, key = chance.choice(list(places(body)))
        node[key] = deepcopy(chance.choice(JUNK))
        made["body"] = json.dumps(body)
    else:
        for _ in range(chance.randint(1, 3)):
            node, key = chance.choice(list(places(made)))
            if chance.random() < 0.3 and isinstance(node, dict):
                del node[key]
            else:
                node[key] = deepcopy(chance.choice(JUNK))
    raw = json.dumps(made).encode()
    if number % 10 == 0:
        raw = raw[: chance.randrange(len(raw))]
    elif number % 17 == 0:
        raw = bytes(chance.randrange(256) for _ in range(300))
    return raw


def faults(client: httpx.Client, exporter: Exporter) -> list[str]:
    """What does not answer as it should."""
    found = [
        f"{path}: {got.status_code} {got.text[:300]}"
        for path in PATHS
        if (got := client.get(path)).status_code != 200
    ]
    try:
        exporter.metrics()
    except Exception as error:  # any is one too many
        found.append(f"exporter: {error!r}")
    return found


def named() -> set[str]:
    """The tasks whose messages can be read and still say which they are of."""
    found = set()
    for number in SEEDS:
        with suppress(ValueError, LookupError, TypeError):
            found.add(json.loads(spoilt(number))["headers"]["id"])
    return found & {f"fuzz-{number}" for number in SEEDS}


def ended(client: httpx.Client) -> dict[str, str]:
    """Task -> the reason of its dead letter, else its state; of those that have come to an end."""
    tasks = client.get("/api/v1/tasks?limit=500").json()["tasks"]
    letters = client.get("/api/v1/dlq/failed-tasks?limit=500").json()["failed_tasks"]
    return {each["task_id"]: each["status"] for each in tasks if each["ended_at"]} | {
        each["task_id"]: each["reason"] for each in letters
    }


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_message_stops_anything(
    pool: str, client: httpx.Client, desk: Desk, worker: Callable[..., Service], environment: dict[str, str]
) -> None:
    exporter = Exporter(Settings.read(environment))
    with desk.server.client(0) as broker:
        broker.lpush("celery", *map(spoilt, SEEDS))
        assert faults(client, exporter) == [], "while they wait"
        service = worker(pool)
        eventually(lambda: not broker.llen("celery"), 60, what="an empty queue")
    good = client.post("/api/v1/tasks", json={"type": "consoleapp.add", "kwargs": {"x": 1}}).json()["task_id"]
    assert wait_status(client, good, "SUCCESS", "FAILURE")["status"] == "SUCCESS"
    assert service.process.poll() is None, "the same worker"
    assert "Unrecoverable" not in service.output
    assert faults(client, exporter) == [], "when they have been taken"
    eventually(lambda: named() <= ended(client).keys(), 60, what="an end of all")
    assert set(ended(client).values()) >= {"undecodable", "invalid", "unknown_task", "failed", "SUCCESS"}
    assert faults(client, exporter) == [], "at the end"
