"""The watchdog's pings stop for a worker that lives and consumes nothing, and for no other."""

import time

import pytest

from integration.runtime.plain import changed
from integration.support import eventually

KINDS = ["prefork", "threads", "gevent", "solo"]

SOON = """
from celery.signals import worker_ready
from celery_fleet.service import readiness, watchdog
watchdog.LATE, watchdog.SUSPICIOUS_SILENCE, watchdog.LONGEST_SILENCE = 2.5, 0.5, 1.5
readiness._PROBE_TIMEOUT = 0.5
"""
"""Judges in seconds instead of minutes."""

DEAF = """
@worker_ready.connect(weak=False)
def cancel(sender, **_):
    sender.call_soon(sender.task_consumer.cancel)
"""
"""Its consumer is gone; its main loop runs, and remote control answers."""

SILENT = """
@worker_ready.connect(weak=False)
def stop_reading(sender, **_):
    sender.task_consumer.channel._brpop_start = lambda *_: None
"""
"""It has queues and credit, and asks for nothing."""

LEAKING = """
@worker_ready.connect(weak=False)
def leak(sender, **_):
    qos = sender.task_consumer.channel.qos
    qos.can_consume = lambda: False
"""
"""It has no credit, though it runs nothing."""

FORGETFUL = """
from celery.worker.request import Request
def fail(*_, **__):
    raise RuntimeError("not now")
Request.acknowledge = fail
"""
"""The ends of its tasks are lost: greenlets and threads have ended, their requests are active for ever."""


SWALLOWING = """
from celery_fleet.service.request import FleetRequest
wrap = FleetRequest.__init_subclass__.__func__
def swallow_once(cls, **options):
    wrap(cls, **options)
    if "on_success" in vars(cls):
        ends, on_success = [], cls.on_success
        def swallowed(self, *args, **kwargs):
            ends.append(self)
            return on_success(self, *args, **kwargs) if len(ends) > 1 else None
        cls.on_success = swallowed
FleetRequest.__init_subclass__ = classmethod(swallow_once)
"""
"""The end of its first task is lost: the request is active for ever, nothing runs."""


def of_pool(environment, pool):
    return {**environment, "CELERY_FLEET_POOL": pool}


def pings(worker):
    return worker.notifications.count("WATCHDOG=1")


def until_no_more_pings(worker, why):
    eventually(lambda: why in worker.notifications.status, 30, f"the verdict {why!r}")

    def silent():
        before = pings(worker)
        time.sleep(1)  # five times the interval
        return pings(worker) == before

    eventually(silent, 30, "the end of the pings")


FAULTS = {
    "deaf": (DEAF, "does not consume celery"),
    "silent": (SILENT, "does not ask for tasks"),
    "leaking": (LEAKING, "no task runs, but none is taken"),
}


@pytest.mark.parametrize("kind", ["prefork", "gevent"])
def test_a_worker_that_answers_and_consumes_nothing_gets_no_ping(kind, environment, producer, services):
    settings = environment()
    workers = {
        name: services.worker(
            of_pool(settings, name), "-n", f"{name}@%h", pool=kind, python=changed(SOON + fault)
        )
        for name, (fault, _) in FAULTS.items()
    }
    for name, worker in workers.items():
        worker.wait_ready()
        until_no_more_pings(worker, FAULTS[name][1])
    answers = producer(settings).app.control.ping(timeout=5, limit=len(workers))
    assert len(answers) == len(workers), "they still answer"
    for worker in workers.values():
        worker.process.kill()


def test_a_greenlet_that_holds_the_hub_gets_no_ping(environment, producer, services, record):
    """Judged by a thread of the operating system; the hub, the main loop and remote control are blocked."""
    settings = environment()
    worker = services.worker(settings, pool="gevent", python=changed(SOON)).wait_ready()
    producer(settings).spin.delay("spinning", 60)
    record.wait("begin", "spinning")
    until_no_more_pings(worker, "main loop stuck")
    worker.process.kill()


@pytest.mark.parametrize("kind", ["threads", "gevent"])
def test_requests_of_what_has_ended_hold_no_credit(kind, environment, producer, services, record):
    settings = environment()
    worker = services.worker(
        settings, pool=kind, concurrency=2, python=changed(SOON + FORGETFUL)
    ).wait_ready()
    tasks = producer(settings)
    for tag in ("one", "two"):
        tasks.work.delay(tag, 0)
    until_no_more_pings(worker, "no task runs, but none is taken")
    worker.process.kill()


def test_a_request_whose_end_was_lost_holds_no_credit(environment, producer, services, record):
    """In the main loop itself (solo), or in a process that lives and idles (prefork)."""
    queues = {kind: {} for kind in ("prefork", "solo")}
    settings = environment(celery_queues={"celery": {}} | queues)
    workers = {
        kind: services.worker(
            {**of_pool(settings, kind), "CELERY_FLEET_QUEUES": kind},
            *("-n", f"{kind}@%h"),
            pool=kind,
            python=changed(SOON + SWALLOWING),
        )
        for kind in queues
    }
    tasks = producer(settings)
    for kind, worker in workers.items():
        worker.wait_ready()
        tasks.work.apply_async((kind, 0), queue=kind)
        tasks.work.apply_async((f"{kind} next", 0), queue=kind)
    record.wait("end", *workers)
    for worker in workers.values():
        until_no_more_pings(worker, "no task runs, but none is taken")
        worker.process.kill()
    assert set(record.count("begin")) == set(workers)


def test_a_gevent_worker_of_stock_delivery_that_was_busy_when_redis_restarted_gets_no_ping(
    environment, producer, services, record, own_redis_server
):
    """Celery's own fault: a task ends while Redis is away, its acknowledgement fails, its credit is gone."""
    services.server = own_redis_server
    own_redis_server.start()
    settings = environment(celery_delivery="stock")
    worker = services.worker(settings, pool="gevent", concurrency=2, python=changed(SOON)).wait_ready()
    tasks = producer(settings)
    tags = ["one", "two"]
    for tag in tags:
        tasks.silent.delay(tag, 2)
    record.wait("begin", *tags)
    own_redis_server.stop()
    worker.wait_log("Couldn't ack", times=2)
    own_redis_server.start()
    tasks.silent.delay("three", 0)
    until_no_more_pings(worker, "no task runs, but none is taken")
    assert "three" not in record.count("begin")
    worker.process.kill()


def test_whoever_idles_works_or_waits_for_redis_gets_pings(
    environment, producer, services, record, own_redis_server
):
    """Each phase is longer than what a stuck worker is given, and no task has a limit that its pool enforces."""
    services.server = own_redis_server
    own_redis_server.start()
    settings = environment()
    workers = [
        services.worker(of_pool(settings, kind), "-n", f"{kind}@%h", pool=kind, python=changed(SOON))
        for kind in KINDS
    ]
    for worker in workers:
        worker.wait_ready()
    tasks = producer(settings)

    def still_pinged(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = [pings(worker) for worker in workers]
            eventually(
                lambda before=before: all(map(int.__gt__, map(pings, workers), before)), 6, "pings of all"
            )

    still_pinged(4.5)
    for kind in KINDS:
        tasks.work.delay(kind, 6)
    record.wait("begin", *KINDS)
    still_pinged(4.5)
    record.wait("end", *KINDS)
    own_redis_server.stop()
    still_pinged(6)
    own_redis_server.start()
    eventually(
        lambda: all("0/1 busy" in worker.notifications.status for worker in workers), 30, "their return"
    )
    still_pinged(1)
    assert {worker.notifications.count("READY=1") for worker in workers} == {1}
