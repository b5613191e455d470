"""Processes of a prefork pool: scaled by demand, replaced when they have grown, sharing what is loaded."""

import os
import signal
import time
from pathlib import Path

from integration.support import eventually


def children(worker):
    path = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


def test_autoscale_follows_the_load_up_and_down(environment, producer, services, record):
    """F6: --autoscale=8,2."""
    settings = environment() | {"AUTOSCALE_KEEPALIVE": "1"}
    worker = services.worker(settings, "--autoscale=8,2").wait_ready()
    assert len(children(worker)) == 2
    tasks = producer(settings)
    tags = [f"task{number}" for number in range(12)]
    for tag in tags:
        tasks.work.delay(tag, 2)
    eventually(lambda: len(children(worker)) == 8, 30, "eight processes")
    record.wait("end", *tags)
    eventually(lambda: len(children(worker)) == 2, 40, "two processes")
    assert set(record.count("end").values()) == {1}
    assert worker.stop() == 0


def test_a_child_is_replaced_after_so_many_tasks_or_when_it_has_grown(environment, producer, services):
    """C4, F5: --max-tasks-per-child; --max-memory-per-child is in KiB, of the most that it ever had."""
    settings = environment()
    few = services.worker(settings, "--max-tasks-per-child=2").wait_ready()
    tasks = producer(settings)
    pids = [tasks.pid.delay().get(timeout=60) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    few.stop()
    small = services.worker(settings, "--max-memory-per-child=200000").wait_ready()
    first = tasks.pid.delay().get(timeout=60)
    assert tasks.pid.delay().get(timeout=60) == first, (
        "what it shares with the main process is within the limit"
    )
    tasks.grow.delay(200).get(timeout=60)
    assert tasks.pid.delay().get(timeout=60) != first, "it has given all of that back, but has had it"
    small.stop()


def test_the_task_of_a_killed_process_is_soon_tried_again(environment, producer, services, record):
    """C4: Celery alone needs up to five seconds to see that a process has died. No task that ended is taken for lost."""
    settings = environment(celery_retry={"delay": 1})
    worker = services.worker(settings, concurrency=2).wait_ready()
    tasks = producer(settings)
    tags, others = ["one", "two", "three"], [f"other{number}" for number in range(60)]
    for tag in others:
        tasks.work.delay(tag, 0.02)
    took = []
    for tag in tags:
        tasks.killed.delay(tag, 3)
        eventually(lambda tag=tag: record.count("begin")[tag] == 1, what="its first run")
        os.kill(record.pid(tag), signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda tag=tag: record.count("begin")[tag] == 2, what="its second run")
        took.append(time.monotonic() - killed)
    assert max(took) < 4, "half a second until it is seen, one of delay"
    record.wait("end", *tags, *others)
    assert record.count("begin") == dict.fromkeys(others, 1) | dict.fromkeys(tags, 2)
    assert worker.stop() == 0


def test_children_share_what_the_main_process_has_loaded(environment, services):
    worker = services.worker(environment(), concurrency=4).wait_ready()
    eventually(lambda: len(children(worker)) == 4, what="four children")
    main = proportional(worker.process.pid)
    each = [proportional(pid) for pid in children(worker)]
    assert max(each) < 0.85 * main, "so much for a child that has done nothing"


def test_the_kernel_prefers_children_to_their_parent(environment, services):
    worker = services.worker(environment()).wait_ready()
    preferred = min(1000, adjustment(worker.process.pid) + 300)
    eventually(lambda: [*map(adjustment, children(worker))] == [preferred], what="the preference")


def adjustment(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def proportional(pid):
    """KiB that the process has, what it shares with others divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
