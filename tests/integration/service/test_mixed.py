"""Pools of several kinds side by side."""

import time

from integration.support import eventually


def test_cpu_work_in_processes_beside_io_work_in_greenlets(environment, producer, services, record):
    """F9: a CPU pool (prefork) beside an I/O pool (gevent, 50 at a time); C5, F6: each with its own queues."""
    settings = environment(celery_queues={"celery": {}, "cpu": {}, "io": {}})
    pools = {"cpu": ("prefork", 2), "io": ("gevent", 50)}
    workers = {
        name: services.worker(
            {**settings, "CELERY_FLEET_POOL": name, "CELERY_FLEET_QUEUES": name},
            "-n",
            f"{name}@%h",
            pool=kind,
            concurrency=slots,
        )
        for name, (kind, slots) in pools.items()
    }
    for worker in workers.values():
        worker.wait_ready()
    tasks = producer(settings)
    waits = [f"io{number}" for number in range(75)]
    for tag in waits:
        tasks.work.apply_async((tag, 2), queue="io")
    for tag in ("cpu1", "cpu2"):
        tasks.spin.apply_async((tag, 3), queue="cpu")
    began = time.monotonic()
    eventually(lambda: "50/50 busy" in workers["io"].notifications.status, 20, "fifty greenlets at once")
    record.wait("end", *waits, "cpu1", "cpu2")
    assert time.monotonic() - began < 30, "one after another would take more than three minutes"
    assert set(record.count("end").values()) == {1}
    assert [worker.stop() for worker in workers.values()] == [0, 0]
