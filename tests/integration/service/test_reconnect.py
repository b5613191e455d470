"""Every kind of pool is back within seconds when Redis was restarted or frozen; no task is lost or run twice."""

import signal
import time
from collections import Counter

import pytest

from integration.support import eventually

KINDS = ["prefork", "threads", "gevent", "solo"]
BACK = 20.0
"""Seconds until every pool consumes again."""


@pytest.fixture
def fleet(services, environment, producer, own_redis_server, record):
    """One worker of each kind, with a queue of its own, on one Redis; (tasks, workers by kind)."""
    services.server = own_redis_server
    own_redis_server.start()
    queues = {kind: {} for kind in KINDS} | {"celery": {}}
    settings = environment(celery_queues=queues)
    workers = {
        kind: services.worker(
            {**settings, "CELERY_FLEET_POOL": kind, "CELERY_FLEET_QUEUES": kind},
            "-n",
            f"{kind}@%h",
            pool=kind,
            concurrency=1 if kind == "solo" else 2,
        )
        for kind in KINDS
    }
    for worker in workers.values():
        worker.wait_ready(60)
    return producer(settings), workers


def restart(server):
    server.stop()
    time.sleep(2)
    server.start()


def freeze(server):
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(9)  # longer than what a silent connection is given
    server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("outage", [restart, freeze])
def test_a_redis_that_was_away(outage, fleet, own_redis_server, record):
    tasks, workers = fleet
    long, fast = [], []
    for (
        kind
    ) in KINDS:  # each slot runs a task that ends while Redis is away, and one of each stores no result
        long += [f"{kind}-long", f"{kind}-silent"]
        tasks.work.apply_async((long[-2], 1.5), queue=kind)
        tasks.silent.apply_async((long[-1], 1.5), queue=kind)
    record.wait("begin", *(tag for tag in long if tag != "solo-silent"))
    outage(own_redis_server)
    began = time.monotonic()
    for kind in KINDS:
        fast.append(f"{kind}-after")
        tasks.silent.apply_async((fast[-1], 0), queue=kind)
    record.wait("end", *fast, patience=60)
    assert time.monotonic() - began < BACK
    record.wait("end", *long)
    with own_redis_server.client() as client:
        eventually(
            lambda: not [key for key in client.scan_iter("*") if "unacked:" in key or key in KINDS],
            30,
            "the end of all that was held",
        )
    assert record.count("end") == Counter(long + fast), "none was lost, none ran twice"
    for worker in workers.values():
        assert worker.process.poll() is None
        assert "stuck" not in worker.notifications.status


def test_tasks_that_are_cancelled_on_connection_loss_run_again_and_end_once(
    services, environment, producer, own_redis_server, record
):
    services.server = own_redis_server
    own_redis_server.start()
    kinds = ["prefork", "gevent"]
    settings = environment(celery_queues={"celery": {}, "prefork": {}, "gevent": {}})
    for kind in kinds:
        own = {"POOL": kind, "QUEUES": kind, "ON_CONNECTION_LOSS": "cancel"}
        made = settings | {f"CELERY_FLEET_{name}": value for name, value in own.items()}
        services.worker(made, "-n", f"{kind}@%h", pool=kind, concurrency=2).wait_ready()
    tasks = producer(settings)
    for kind in kinds:
        tasks.work.apply_async((kind, 6), queue=kind)
    record.wait("begin", *kinds)
    restart(own_redis_server)
    record.wait("end", *kinds, patience=60)
    assert record.count("begin") == {"prefork": 2, "gevent": 2}
    assert record.count("end") == {"prefork": 1, "gevent": 1}
