"""A stop of each kind of pool: nothing lost, nothing repeated that ended, in bounded time."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from integration.runtime.plain import changed
from integration.support import Service, eventually

KINDS = ["prefork", "threads", "gevent", "solo"]
SLOW_MACHINE = 8.0
"""Seconds that a stop may take beyond what it waits for."""


def lists(redis_server, pattern):
    with redis_server.client() as client:
        return sum(client.llen(key) for key in client.scan_iter(pattern, _type="list"))


def unacknowledged(redis_server):
    with redis_server.client() as client:
        return sum(client.hlen(key) for key in client.scan_iter("unacked*", _type="hash"))


@dataclass
class Busy:
    """Workers of each kind, all slots taken, as many tasks waiting."""

    start: Callable[[str], Service]
    slots: dict[str, int]
    workers: dict[str, Service]

    def stop(self, sig, patience):
        """Seconds that each has taken; they get the signal at the same time."""
        began, took = time.monotonic(), {}
        for worker in self.workers.values():
            worker.process.send_signal(sig)

        def ended():
            for kind, worker in self.workers.items():
                if kind not in took and worker.process.poll() is not None:
                    took[kind] = time.monotonic() - began
            return len(took) == len(self.workers)

        eventually(ended, patience, "the end of all")
        assert {worker.process.returncode for worker in self.workers.values()} == {0}
        return took

    def kinds(self, counted):
        """How many different tasks of each kind of pool."""
        return dict(Counter(tag.split("-")[0] for tag in counted))


@pytest.fixture
def busy(services, environment, producer, record):
    """busy(kinds, seconds of each task, stop timeout) -> Busy."""

    def make(kinds, seconds, timeout):
        settings = environment(celery_queues={"celery": {}} | {kind: {} for kind in kinds})
        settings["CELERY_FLEET_STOP_TIMEOUT"] = str(timeout)
        slots = {kind: 1 if kind == "solo" else 2 for kind in kinds}

        def start(kind):
            own = {**settings, "CELERY_FLEET_POOL": kind, "CELERY_FLEET_QUEUES": kind}
            return services.worker(own, "-n", f"{kind}@%h", pool=kind, concurrency=slots[kind])

        made = Busy(start, slots, {kind: start(kind) for kind in kinds})
        for worker in made.workers.values():
            worker.wait_ready(60)
        tasks = producer(settings)
        for kind in kinds:
            for number in range(2 * slots[kind]):
                tasks.work.apply_async((f"{kind}-{number}", seconds), queue=kind)
        eventually(
            lambda: made.kinds(record.count("begin")) == slots, 30, "the start of as many tasks as fit"
        )
        return made

    return make


def test_running_tasks_end_and_the_rest_waits(busy, record, redis_server):
    pools = busy(KINDS, 3, 30)
    took = pools.stop(signal.SIGTERM, 30)
    assert max(took.values()) < 3 + SLOW_MACHINE
    for kind, worker in pools.workers.items():
        assert "STOPPING=1" in worker.notifications.lines
        ran = pools.kinds(record.count("end"))[kind]
        assert lists(redis_server, f"{kind}*") == 2 * pools.slots[kind] - ran, "those that had not begun"
    assert record.count("begin") == record.count("end")
    assert set(record.count("end").values()) == {1}
    assert unacknowledged(redis_server) == 0


def test_when_time_is_up_running_tasks_go_back_and_run_again(busy, record, redis_server):
    pools = busy(KINDS, 15, 1)
    took = pools.stop(signal.SIGTERM, 30)
    assert min(took.values()) >= 1
    assert max(took.values()) < 1 + SLOW_MACHINE
    assert not record.count("end")
    for kind in KINDS:
        assert lists(redis_server, f"{kind}*") == 2 * pools.slots[kind]
    assert unacknowledged(redis_server) == 0
    begun = set(record.count("begin"))
    for kind in KINDS:
        pools.start(kind)
    eventually(
        lambda: {tag for tag, times in record.count("begin").items() if times == 2} == begun,
        30,
        "the second start of those that ran: they are first in line",
    )


def test_quit_puts_back_what_shares_the_process(busy, record, redis_server):
    pools = busy(["threads", "gevent", "solo"], 15, 60)
    assert max(pools.stop(signal.SIGQUIT, 30).values()) < SLOW_MACHINE
    assert not record.count("end")
    for kind, slots in pools.slots.items():
        assert lists(redis_server, f"{kind}*") == 2 * slots


def test_a_greenlet_that_never_gives_way_is_put_back_too(
    services, environment, producer, record, redis_server
):
    """The judging thread is one of the operating system: it needs nothing of the hub that is blocked."""
    settings = environment() | {"CELERY_FLEET_STOP_TIMEOUT": "1"}
    worker = services.worker(settings, pool="gevent", concurrency=2).wait_ready()
    producer(settings).spin.delay("spinning", 30)
    record.wait("begin", "spinning")
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < SLOW_MACHINE
    assert lists(redis_server, "celery*") == 1


IMPATIENT = """
from celery_fleet.service import readiness, stop
stop.WITHOUT_BROKER, stop._PROBE_EVERY, readiness._PROBE_TIMEOUT = 2, 0.5, 0.5
"""


@pytest.mark.parametrize("dead", ["frozen", "gone"])
def test_a_dead_broker_does_not_hold_up_a_stop(
    dead, services, environment, producer, record, own_redis_server
):
    services.server = own_redis_server
    own_redis_server.start()
    settings = environment()
    workers = {
        kind: services.worker(
            {**settings, "CELERY_FLEET_POOL": kind}, "-n", f"{kind}@%h", pool=kind, python=changed(IMPATIENT)
        )
        for kind in KINDS
    }
    for worker in workers.values():
        worker.wait_ready()
    tasks = producer(settings)
    for kind in KINDS:
        tasks.work.delay(kind, 1)
    record.wait("begin", *KINDS)
    own_redis_server.process.send_signal(signal.SIGSTOP if dead == "frozen" else signal.SIGKILL)
    for worker in workers.values():
        worker.process.send_signal(signal.SIGTERM)
    eventually(
        lambda: all(worker.process.poll() is not None for worker in workers.values()), 20, "the end of all"
    )
    assert {worker.process.returncode for worker in workers.values()} <= {0, 1}, "none was killed"
    own_redis_server.process.send_signal(signal.SIGCONT)
