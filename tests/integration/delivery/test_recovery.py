"""Workers that die: their tasks are run by the next, in order, once more and no more often."""

import os
import signal
import socket
import time

import pytest

from celery_fleet.delivery.lease import leases
from celery_fleet.delivery.restore import restore
from integration.delivery.fleet import PATIENCE, children
from integration.support import eventually

NODE = f"default@{socket.gethostname()}"
UNACKED = f"unacked:{NODE}"
SLOW = 3.0
"""This machine may be so much slower than one that has nothing else to do."""


@pytest.mark.parametrize("kill", ["main", "group"])
def test_killed_without_a_word(fleet, client, kill):
    """kill -9 of the main process, or of all: within 5 s of its death the tasks run again, in their order."""
    here = fleet()
    first = here.worker()
    for number in range(2):
        here.app.hold.delay(number, here.gate)
    here.wait("began", 2)
    for number in range(2, 6):
        here.app.note.delay(number)
    here.open_gate()  # for those that come
    if kill == "main":
        first.process.kill()
        first.process.wait()
    else:
        first.kill()
    died = time.monotonic()
    before = here.count("ran")
    here.worker()
    here.wait("ran", 6)
    assert time.monotonic() - died < 5 * SLOW
    assert all(here.count("ran")[str(number)] <= 1 + before[str(number)] for number in range(6))
    eventually(lambda: not client.exists(UNACKED), what="the last acknowledgement")


def test_order_is_kept(fleet, client):
    here = fleet()
    first = here.worker(concurrency=3)
    for number in range(3):
        here.app.hold.delay(number, here.gate)
        here.wait("began", number + 1)
    for number in range(3, 6):
        here.app.note.delay(number)
    first.kill()
    (here.directory / "record").write_text("")
    here.open_gate()
    here.worker(concurrency=1)
    here.wait("ran", 6)
    assert here.lines("ran") == list("012345")


def test_nothing_is_lost_under_load(fleet, client):
    here = fleet(celery_max_deliveries=100)
    sent = 0
    for _ in range(3):
        worker = here.worker(concurrency=3)
        seen = len(here.lines("ran"))
        for _ in range(60):
            here.app.note.delay(sent)
            sent += 1
        here.wait("ran", seen + 20)
        worker.process.kill()
        worker.process.wait()
    here.worker(concurrency=3)
    eventually(lambda: len(here.count("ran")) == sent, PATIENCE, "every task")
    eventually(lambda: not client.exists(UNACKED), what="the last acknowledgement")


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_other_pools_are_restored_too(fleet, client, pool):
    here = fleet()
    first = here.worker(pool)
    here.app.hold.delay(1, here.gate)
    here.wait("began", 1)
    first.kill()
    here.open_gate()
    here.worker(pool)
    here.wait("ran", 1)
    eventually(lambda: not client.exists(UNACKED), what="the acknowledgement")
    assert here.count("began") == {"1": 2}


def test_a_second_process_with_the_name_is_refused(fleet, client):
    here = fleet()
    here.worker()
    second = here.worker(ready=False)
    assert second.process.wait(PATIENCE) == 1
    told = [line for line in second.output.splitlines() if "another worker has the name" in line]
    assert len(told) == 1
    assert f"process {here.services.running[0].process.pid} on host {socket.gethostname()}" in told[0]


def test_a_stopped_worker_leaves_no_lease(fleet, client):
    here = fleet()
    worker = here.worker()
    assert [lease.node for lease in leases(client)] == [NODE]
    worker.stop(patience=PATIENCE)
    assert leases(client) == []
    assert not client.exists(f"fleet:owner:{NODE}")


def test_the_dead_are_reaped_by_others_and_the_living_are_not(fleet, client):
    """A pool that never comes back; beside it, one of another name whose task outlasts every time-out."""
    here = fleet(celery_recovery_timeout=5)
    one = here.worker(concurrency=1, CELERY_FLEET_POOL="one")
    here.app.hold.delay("reaped", here.gate)
    here.wait("began", 1)
    here.worker(concurrency=1, CELERY_FLEET_POOL="two")
    here.app.hold.delay("long", here.gate)
    here.wait("began", 2)
    one.kill()
    eventually(lambda: f"one@{socket.gethostname()}" not in {each.node for each in leases(client)}, PATIENCE)
    here.open_gate()
    here.wait("ran", 2)
    assert here.count("began") == {"reaped": 2, "long": 1}


def test_a_frozen_worker_ends_when_its_node_was_taken(fleet, client):
    """Whatever thaws after it was taken for dead must not work on: it ends with its children."""
    here = fleet()
    frozen = here.worker(concurrency=1)
    here.app.hold.delay(1, here.gate)
    here.wait("began", 1)
    pids = [frozen.process.pid, *children(frozen)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert restore(client, NODE).returned == 1
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert frozen.process.wait(PATIENCE) == 1
    eventually(lambda: not any(map(_alive, pids[1:])), what="the end of the children")
    assert "another process has taken over" in frozen.log.lower()
    here.open_gate()
    here.worker(concurrency=1)
    here.wait("ran", 1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_task_that_kills_its_worker_is_set_aside(fleet, client, redis_server):
    here = fleet(celery_max_deliveries=2)
    task = here.app.kill_worker.delay(1)
    for _ in range(2):
        worker = here.worker(ready=False)
        worker.process.wait(PATIENCE)
    here.app.note.delay(2)
    here.worker()
    here.wait("ran", 1)
    assert here.count("began") == {"1": 2}
    with redis_server.client(2) as state:
        letters = [key for key in state.scan_iter() if task.id in key]
        assert letters
        assert state.hget(letters[0], "reason") in ("poison", '"poison"')


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_running_tasks_outlive_the_connection(fleet, client, pool):
    """Every connection is cut, twice: what runs goes on, is acknowledged, and no slot is lost."""
    here = fleet()
    here.worker(pool)
    for number in range(2):
        here.app.hold.delay(number, here.gate)
    here.wait("began", 2)
    here.app.note.delay("next")
    for _ in range(2):
        for each in client.client_list():
            if each["name"] == NODE:
                client.client_kill_filter(_id=each["id"])
        # Without credit it reads nothing, and may notice only when it takes the next.
        if pool != "gevent":
            here.services.running[0].wait_log("Connected again: 2 tasks run on", 1, PATIENCE)
    assert here.lines("ran") == []
    here.open_gate()
    here.wait("ran", 3)
    eventually(lambda: not client.exists(UNACKED), what="the acknowledgements")
    for number in range(4):
        here.app.note.delay(f"after{number}")
    here.wait("ran", 7)
    assert set(here.count("began").values()) == {1}
    assert set(here.count("ran").values()) == {1}
    eventually(lambda: here.app.app.control.ping(timeout=1), PATIENCE, "an answer to a ping")


def test_a_task_that_ends_while_redis_is_away_is_not_run_again(fleet, services, own_redis_server):
    services.server = own_redis_server
    own_redis_server.start()
    here = fleet()
    worker = here.worker()
    here.app.hold.delay(1, here.gate)
    here.wait("began", 1)
    own_redis_server.stop()
    here.open_gate()
    here.wait("ran", 1)
    worker.wait_log("onnection", patience=PATIENCE)
    own_redis_server.start()
    here.app.note.delay(2)
    here.wait("ran", 2)
    with own_redis_server.client() as client:
        eventually(lambda: not client.exists(UNACKED), PATIENCE, "what is owed")
    assert here.count("began") == {"1": 1}


def test_what_is_due_later_waits_in_redis(fleet, client):
    here = fleet()
    worker = here.worker(concurrency=1)
    here.app.note.apply_async(("later",), countdown=3600)
    here.app.note.apply_async(("soon",), countdown=12)
    sent = time.monotonic()
    assert client.zcard("fleet:parked") == 2
    assert not client.exists(UNACKED)
    worker.kill()
    here.worker(concurrency=1)
    here.wait("ran", 1)
    assert 11.5 < time.monotonic() - sent < 12 + 2 * SLOW
    assert client.zcard("fleet:parked") == 1
    assert here.lines("ran") == ["soon"]


def test_a_retry_that_is_far_away_is_parked(fleet, client):
    here = fleet()
    here.worker(concurrency=1)
    here.app.again.delay(600)
    here.wait("tried", 1)
    eventually(lambda: client.zcard("fleet:parked") == 1, what="the retry")
    eventually(lambda: not client.exists(UNACKED), what="the acknowledgement")


def test_a_clean_stop_gives_back_what_was_not_begun(fleet, client):
    here = fleet()
    worker = here.worker(concurrency=1)
    here.app.note.apply_async((1,), countdown=8)
    eventually(lambda: client.hlen(UNACKED) == 1, what="the claim")
    worker.stop(patience=PATIENCE)
    assert not client.exists(UNACKED)
    assert client.llen("celery\x06\x165") == 1
    assert leases(client) == []
