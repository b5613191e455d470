"""Priorities 1 (lowest) to 10 (highest), in true order, with every kind of pool: F2 and F3. Options by environment: F5."""

import pytest

from celery_fleet.policy.priority import broker_priority

ALL = (1, 3, 5, 7, 9, 10, 8, 6, 4, 2)
KINDS = {"prefork": ALL, "threads": ALL, "gevent": (1, 10), "solo": ALL}
"""Kinds of pools, and the priorities that are tried: a gevent pool whose places are all taken is slow to fetch."""


@pytest.mark.parametrize("kind", KINDS)
def test_f2_higher_priorities_run_first_whenever_they_come(environment, producer, services, record, kind):
    """The worker is busy when they are sent: what it has not begun is overtaken."""
    settings = environment(
        celery_queues={"celery": {"priority": 4}, "email": {"priority": 3}}, queues="celery,email"
    )
    services.worker(settings, pool=kind).wait_ready()
    tasks = producer(settings)
    tasks.gate.delay()
    record.wait(1)
    for priority in KINDS[kind]:
        tasks.tell.apply_async((str(priority),), priority=priority)
    tasks.tell.apply_async(("3 of the queue",), queue="email")
    tasks.tell.delay("4 of the queue")
    tasks.tell.apply_async(("9 of the call",), queue="email", priority=9)
    record.open_gate()
    record.wait(len(KINDS[kind]) + 4)
    ran = [int(line["text"].partition(" ")[0]) for line in record.lines("tell")]
    assert ran == sorted([*KINDS[kind], 3, 4, 9], reverse=True)
    assert [line["priority"] for line in record.lines("tell")] == [broker_priority(each) for each in ran]


def test_f3_whatever_a_task_sends_inherits_its_priority(environment, producer, services, record):
    settings = environment(celery_queues={"celery": {"priority": 5}})
    services.worker(settings, concurrency=2).wait_ready()
    producer(settings).parent.apply_async(priority=9)
    lines = record.wait(12, "tell")
    carried = {line["text"]: line["priority"] for line in lines}
    assert carried == {
        **dict.fromkeys(
            ("child", "callback of callback", "link", "errback", "chain 1", "chain 2", "header", "body"),
            broker_priority(9),
        ),
        "override": broker_priority(2),
        "chain override": broker_priority(3),
        "chain 4": broker_priority(3),
    }


@pytest.mark.parametrize("kind", ["prefork", "gevent"])
def test_f5_every_worker_option_may_come_from_the_environment(environment, services, producer, record, kind):
    settings = environment()
    options = {
        "CELERY_WORKER_POOL": kind,
        "CELERY_WORKER_CONCURRENCY": "3",
        "CELERY_WORKER_PREFETCH_MULTIPLIER": "4",
        "CELERY_WORKER_MAX_TASKS_PER_CHILD": "1000",
        "CELERY_WORKER_QUEUES": "celery",
    }
    arguments = ["worker", "-n", "default@%h", "--without-mingle", "--without-gossip"]
    services.start(arguments, {**settings, **options}).wait_ready()
    tasks = producer(settings)
    (stats,) = tasks.app.control.inspect(timeout=5).stats().values()
    assert stats["prefetch_count"] == 12
    assert stats["pool"]["implementation"] == f"celery.concurrency.{kind}:TaskPool"
    assert stats["pool"]["max-concurrency"] == 3
    assert stats["pool"].get("max-tasks-per-child") == (1000 if kind == "prefork" else None)
    for _ in range(3):
        tasks.gate.delay()
    record.wait(3, "gate")  # at once: gevent has found its place
    record.open_gate()
