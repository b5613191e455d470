"""Memory and processes of the pools."""

import os
from pathlib import Path

import pytest

from contract.laboratory import Laboratory, experiment

LIMIT = 130_000
"""KiB; a child of this app alone has less than half of it."""


@experiment
def recycled(lab: Laboratory):
    lab.worker(settings={"worker_max_memory_per_child": LIMIT})
    found = []
    for megabytes in (0, 0, 100, 0):
        task = lab.send("allocate", megabytes)
        lab.wait_state(task, "SUCCESS")
        found.append(lab.result(task))
    return found


def test_the_memory_limit_of_children_is_in_kib_of_peak_memory(recycled):
    """A child is replaced after a task when its peak, not its present, memory has passed the limit in KiB.

    topology.capacity plans by it.
    """
    (first, resident, peak), (second, *_), (third, resident_after, peak_after), (fourth, *_) = recycled
    assert peak < LIMIT < peak_after
    assert max(resident, resident_after) < LIMIT
    assert first == second == third != fourth


@experiment
def prefork_started(lab: Laboratory):
    return started(lab, "prefork")


@experiment
def solo_started(lab: Laboratory):
    return started(lab, "solo")


@experiment
def threads_started(lab: Laboratory):
    return started(lab, "threads")


@experiment
def gevent_started(lab: Laboratory):
    return started(lab, "gevent")


def started(lab: Laboratory, pool: str) -> list[str]:
    """Where `worker_process_init` was sent."""
    worker = lab.worker(pool=pool)
    lab.send("quick", "x")
    lab.wait_end("x")
    return ["main" if each["pid"] == worker.pid else "child" for each in lab.events("worker_process_init")]


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ("prefork_started", ["child"]),
        ("solo_started", ["main"]),
        ("threads_started", []),
        ("gevent_started", []),
    ],
    indirect=["found"],
)
def test_where_the_start_of_a_process_is_signalled(found, where):
    """Only prefork and solo send `worker_process_init`. service.memory must tell solo's main from a child."""
    assert found == where


def test_a_process_may_offer_itself_to_the_oom_killer():
    """Raising one's own oom_score_adj needs no privilege, and children inherit it. service.memory relies on it."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        path = Path("/proc/self/oom_score_adj")
        path.write_text(str(int(path.read_text()) + 300))
        os.write(write, path.read_bytes())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 10)) == int(Path("/proc/self/oom_score_adj").read_text()) + 300
    os.close(read)
    os.close(write)
