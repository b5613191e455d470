"""Who deserves a ping."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery.concurrency.base import apply_target

from celery_fleet.service import consuming
from celery_fleet.service.beat import BeatWatch
from celery_fleet.service.consuming import held_queues
from celery_fleet.service.state import status_line
from celery_fleet.service.watchdog import LATE, LONGEST_SILENCE, Judge, Observation, trouble

IDLE = Observation(taken=7)
BUSY = Observation(credit=False, holders=2, asked=3600, taken=9)
TROUBLES = {
    "main loop stuck": replace(IDLE, answered=LATE + 1),
    "does not consume celery,email": replace(IDLE, lost=("celery", "email")),
    "does not ask for tasks": replace(IDLE, asked=LATE + 1),
    "no task runs, but none is taken": replace(BUSY, holders=0),
}


def judged(*rounds, forgiven=()):
    """Whether a worker deserves its ping after it was observed each second: (observation, seconds) one by one."""
    judge, now = Judge(), 1000.0
    for worker, seconds in rounds:
        for _ in range(seconds):
            now += 1
            judge.look(worker, now)
            if now - 1000 in forgiven:
                judge.forgive()
    return judge.deserves_ping(now)


@pytest.mark.parametrize(("text", "worker"), TROUBLES.items())
def test_trouble_that_lasts_gets_none(text, worker):
    assert trouble(worker) == text
    assert judged((IDLE, 3), (worker, int(LONGEST_SILENCE)))
    assert not judged((IDLE, 3), (worker, int(LONGEST_SILENCE) + 5))


@pytest.mark.parametrize(
    "excuse", [{"ready": False}, {"stopping": True}, {"connected": False}, {"occupied": True}]
)
@pytest.mark.parametrize("worker", TROUBLES.values())
def test_whoever_starts_stops_reconnects_or_is_occupied_gets_theirs(excuse, worker):
    assert judged((replace(worker, **excuse), 3600))


@pytest.mark.parametrize(
    "worker",
    [IDLE, BUSY, replace(IDLE, paused=True, asked=3600)],
    ids=["idle", "busy with two tasks that have no limit", "paused by an operator"],
)
def test_whoever_is_well_gets_theirs_for_ever(worker):
    assert judged((worker, 86400))


def test_trouble_that_ends_counts_no_more():
    stuck = TROUBLES["main loop stuck"]
    assert judged((stuck, 29), (IDLE, 1), (stuck, 29))


def test_troubles_of_two_kinds_count_together():
    assert not judged((TROUBLES["main loop stuck"], 20), (TROUBLES["does not ask for tasks"], 20))


def test_who_begins_tasks_is_alive_whatever_else_it_seems_to_be():
    leaking = TROUBLES["no task runs, but none is taken"]
    assert judged(*((replace(leaking, taken=begun), 10) for begun in range(100)))


@pytest.mark.parametrize("outage", [300, 3600])
def test_an_outage_of_the_broker_is_waited_out(outage):
    """It is seen before the main loop sees it, and by all the ways in which that may hang meanwhile."""
    unseen = replace(IDLE, asked=LATE + 1)
    waiting = replace(IDLE, connected=False)
    hanging = replace(BUSY, answered=LATE + 1)
    assert judged((unseen, 15), (waiting, outage), (IDLE, 1))
    assert judged((hanging, outage), (BUSY, 1), forgiven=range(12, outage, 12))


def test_status_line():
    assert (
        status_line(3, 4, 1204, 2, ["celery", "email"])
        == "3/4 busy, 1204 done, 2 failed, queues: celery,email"
    )


def test_queues_are_held_that_are_consumed_from():
    queues = [SimpleNamespace(name="celery"), SimpleNamespace(name="email")]
    tasks = SimpleNamespace(queues=queues, consuming_from=lambda queue: queue.name == "email")
    assert held_queues(SimpleNamespace(task_consumer=tasks)) == ["email"]
    assert held_queues(SimpleNamespace(task_consumer=None)) == []
    assert held_queues(None) == []


# --- who holds the credit -------------------------------------------------------------------------------------------
class Request:
    """As much of a request as counts."""

    def __init__(self, pid=1, since=None, limit=None):
        self.worker_pid, self.time_start = pid, since
        self.time_limits, self.task = (limit, None), SimpleNamespace(time_limit=None)


class Job:
    """What the pool of processes knows of a task."""

    def __init__(self, pid, ended=False):
        self.worker_pids, self.ready = lambda: [pid] if pid is not None else [], lambda: ended


def children(*jobs):
    """Two processes, 0 and 1, with these jobs."""
    return SimpleNamespace(_pool=[SimpleNamespace(pid=pid) for pid in range(2)], _cache=dict(enumerate(jobs)))


def pool(kind, **made):
    module = {"threads": "thread"}.get(kind, kind)
    return type("TaskPool", (), {"__module__": f"celery.concurrency.{module}", **made})()


KINDS = {
    "prefork": lambda alive: pool("prefork", _pool=children(*(Job(pid) for pid in range(alive)))),
    "solo": lambda _: pool("solo"),
    "gevent": lambda alive: pool("gevent", _pool=object(), _pool_map=dict.fromkeys(range(alive)), limit=2),
    "threads": lambda alive: pool(
        "threads",
        executor=SimpleNamespace(_threads=range(4), _idle_semaphore=SimpleNamespace(_value=4 - alive)),
    ),
}


@pytest.fixture
def worker(monkeypatch):
    """worker(kind, alive, requests): its pool runs so many tasks, and it has these active requests."""

    def make(kind, alive, requests, limit=None, **buckets):
        monkeypatch.setattr(consuming, "_members", lambda _: iter(requests))
        consumer = SimpleNamespace(task_buckets=buckets)
        return SimpleNamespace(pool=KINDS[kind](alive), consumer=consumer, time_limit=limit)

    return make


@pytest.mark.parametrize("kind", ["prefork", "gevent", "threads"])
def test_requests_whose_greenlet_thread_or_child_has_died_hold_nothing(kind, worker):
    assert consuming.holders(worker(kind, 2, [Request(0), Request(1)])) == 2
    assert consuming.holders(worker(kind, 1, [Request(0), Request(1)])) == 1
    assert consuming.holders(worker(kind, 0, [Request(0), Request(1)])) == 0


def test_a_process_that_idles_holds_nothing(worker):
    """Its last task's end was lost on the way: the request is active for ever, its job has ended."""
    busy = worker("prefork", 0, [Request(0), Request(1)])
    busy.pool._pool = children(Job(0, ended=True), Job(1))
    assert consuming.holders(busy) == 1
    busy.pool._pool = children(Job(None), Job(7))  # not begun; of a process that is gone
    assert consuming.holders(busy) == 0


def test_a_solo_worker_is_occupied_only_while_its_main_thread_runs_a_task(worker, monkeypatch):
    seen = {}
    alone = worker("solo", 0, [Request()])
    monkeypatch.setattr(consuming.state, "active_requests", {object()})

    def look():
        seen["alive"], seen["occupied"] = consuming.holders(alone), consuming.main_loop_runs_task(alone)

    def task():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    task()
    assert seen == {"alive": 0, "occupied": False}, "its request is active, but nothing runs"
    apply_target(task, callback=lambda _: None)
    assert seen == {"alive": 1, "occupied": True}


@pytest.mark.parametrize(("kind", "left"), [("prefork", 1), ("gevent", 1), ("threads", 2)])
def test_what_should_have_been_ended_long_ago_is_not_believed(kind, left, worker, monkeypatch):
    monkeypatch.setattr(consuming, "time", SimpleNamespace(time=lambda: 1000.0))
    overdue, late = Request(0, since=960, limit=9), Request(1, since=961, limit=9)
    assert consuming.holders(worker(kind, 2, [overdue, late])) == left
    assert consuming.holders(worker(kind, 2, [Request(0, since=900), late], limit=60)) == left


def test_tasks_that_wait_for_their_rate_hold_what_they_have(worker):
    bucket = SimpleNamespace(contents=[1, 2, 3])
    assert consuming.holders(worker("prefork", 0, [], limited=bucket, unlimited=None)) == 3


def test_a_full_gevent_pool_holds_up_its_main_loop(worker):
    assert consuming.waits_for_slot(worker("gevent", 2, []))
    assert not consuming.waits_for_slot(worker("gevent", 1, []))
    assert not consuming.waits_for_slot(worker("threads", 4, []))


# --- Beat ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr("celery_fleet.service.beat.notify", lambda *new: lines.extend(new))
    return lines


@pytest.fixture
def now(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("celery_fleet.service.beat.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def beat_service(last_tick, **made):
    """Beat's service. Its scheduler has no `schedule`: that is in a store of the thread that schedules."""
    app = SimpleNamespace(conf=SimpleNamespace(beat_schedule={"one": 1}))
    return SimpleNamespace(_last_tick=last_tick, app=app, scheduler=SimpleNamespace(max_interval=5, **made))


def test_beat_is_alive_while_it_ticks(told, now):
    service = beat_service(None)
    watch = BeatWatch(service)
    watch.look()
    assert "READY=1" not in told
    service._last_tick = now.now
    watch.look()
    assert told == ["STATUS=1 entries", "WATCHDOG=1", "READY=1", "WATCHDOG=1"]
    now.now += 36
    watch.look()
    assert told.count("WATCHDOG=1") == 2


def test_beat_is_alive_while_it_waits_for_its_first_connection(told, now):
    watch = BeatWatch(beat_service(now.now, connection=object()))
    now.now += 3600
    watch.look()
    assert told == ["STATUS=waiting for the broker", "WATCHDOG=1"]
