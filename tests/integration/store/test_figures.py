"""The figures that are counted with the index: on a real Redis, by one writer and by several."""

import math
import random
import threading
import time

import pytest
import redis

from celery_fleet.store import index as index_module
from celery_fleet.store.figures import BOUNDS, COARSE, FINE, KEPT, LIMITS, OTHER, Figures, Totals
from celery_fleet.store.index import STATES, TaskIndex, TaskRecord
from integration.support import PASSWORD, USER

NOW = float(int(time.time()) // COARSE * COARSE)
"""The beginning of a bucket of either size."""


@pytest.fixture
def client(redis_server):
    with redis.Redis(port=redis_server.port, db=2, username=USER, password=PASSWORD, protocol=2) as client:
        yield client


@pytest.fixture
def index(client):
    return TaskIndex(client, 10_000, 3600)


@pytest.fixture
def figures(client):
    return Figures(client)


def record(state, task_id="t1", at=NOW, **more):
    return TaskRecord(
        **{
            "task_id": task_id,
            "state": state,
            "at": at,
            "name": "app.a",
            "queue": "celery",
            "worker": "w1",
            **more,
        }
    )


def received(task_id="t1", at=NOW, **more):
    return record("RECEIVED", task_id, at, received=at, **more)


def started(task_id="t1", at=NOW + 1, **more):
    return record("STARTED", task_id, at, started=at, **more)


def succeeded(task_id="t1", at=NOW + 3, runtime=2.0, **more):
    return record("SUCCESS", task_id, at, ended=at, runtime=runtime, **more)


def failed(task_id="t1", at=NOW + 3, error="ValueError: bad", **more):
    return record("FAILURE", task_id, at, ended=at, error=error, **more)


def retried(task_id="t1", at=NOW + 3, **more):
    return record("RETRY", task_id, at, **more)


def counts(figures):
    totals = figures.totals()
    return totals.received, totals.succeeded, totals.failed, totals.retried, totals.revoked


def test_one_task(index, figures):
    index.write([received(priority=0, since=NOW - 2)])
    index.write([started(since=NOW - 2)])
    index.write([succeeded()])
    assert figures.totals() == Totals(1, 1, 0, 0, 0, runtime=2.0, wait=3.0, waits=1)
    assert figures.window(60, NOW + 10) == figures.totals()
    figures_of = figures.by_name()["app.a"]
    assert (figures_of.succeeded, figures_of.runtime, figures_of.received) == (1, 2.0, {"high": 1})
    assert [count for _, count in figures_of.buckets] == [int(bound >= 2) for bound in BOUNDS]
    assert figures_of.buckets[-1][0] == math.inf


def test_every_step_once_however_often_and_in_whatever_order_it_is_written(index, figures):
    steps = [
        received(),
        started(),
        retried(),
        received(at=NOW + 4, retries=1),
        started(at=NOW + 5, retries=1),
        failed(at=NOW + 6, retries=1),
    ]
    for shuffle in range(20):
        figures_before = counts(figures)
        order = [*steps, *steps]
        random.Random(shuffle).shuffle(order)
        for each in order:
            index.write([TaskRecord(**{**vars(each), "task_id": f"t{shuffle}"})])
        grown = [new - old for new, old in zip(counts(figures), figures_before, strict=True)]
        assert grown == [1, 0, 1, 1, 0], f"{shuffle}: {[each.state for each in order]}"


def test_steps_that_were_merged_into_one_record_count_as_well(index, figures):
    index.write([succeeded(retries=3, received=NOW, started=NOW + 1)])
    assert counts(figures) == (1, 1, 0, 3, 0)
    index.write([retried("t2"), retried("t2", at=NOW + 4, retries=1), started("t2", at=NOW + 5, retries=2)])
    assert counts(figures) == (1, 1, 0, 5, 0)


def test_a_task_whose_process_died_was_retried(index, figures):
    """The retry is not among its own `retries`."""
    index.write([received(), retried()])
    index.write([started(losses=1), retried(losses=1)])
    index.write([succeeded(losses=2)])
    assert counts(figures) == (1, 1, 0, 2, 0)
    index.write([retried("t2")])
    index.write([retried("t2", losses=1)])
    assert figures.totals().retried == 4


def test_the_first_end_counts(index, figures):
    """Its message was delivered again: it is no second task, and no count goes back."""
    index.write([received(), failed()])
    index.write([received(at=NOW + 60)])
    index.write([succeeded(at=NOW + 61)])
    assert index.get("t1").state == "SUCCESS"
    assert counts(figures) == (1, 0, 1, 0, 0)
    index.write([record("REVOKED", "t2"), record("REVOKED", "t2", NOW + 60)])
    assert counts(figures) == (2, 0, 1, 0, 1)


def test_who_was_put_back_unbegun_is_received_once(index, figures):
    index.write([received()])
    index.write([received(at=NOW + 60, worker="w2")])
    index.write([succeeded(at=NOW + 61, worker="w2")])
    assert counts(figures) == (1, 1, 0, 0, 0)


def test_what_was_published_is_pending_until_a_worker_speaks(index, figures):
    index.write([record("PENDING", at=NOW + 9, since=NOW)])
    assert index.counts() == dict.fromkeys(STATES, 0) | {"PENDING": 1}
    assert counts(figures) == (0, 0, 0, 0, 0)
    index.write([received()])
    assert index.get("t1").state == "RECEIVED"
    index.write([record("PENDING", at=NOW + 60)])
    assert index.get("t1").state == "RECEIVED"
    assert (index.count(state="PENDING"), index.count(state="RECEIVED"), index.count()) == (0, 1, 1)
    assert counts(figures) == (1, 0, 0, 0, 0)


def test_what_ends_before_a_worker_took_it_came_in_once(index, figures):
    """So that no more tasks end than came in."""
    index.write([record("PENDING"), record("REVOKED", at=NOW + 1)])
    assert counts(figures) == (1, 0, 0, 0, 1)
    index.write([received(at=NOW + 0.5)])
    assert counts(figures) == (1, 0, 0, 0, 1), "it was about to be taken"


def test_several_writers(client, figures):
    """Each writes the same steps of the same tasks, as when an answer of Redis was lost."""
    ids = [f"t{number}" for number in range(300)]

    def write(seed):
        own, rng = TaskIndex(client, 10_000, 3600), random.Random(seed)
        steps = [
            made for each in ids for made in (received(each), started(each), succeeded(each, worker="w2"))
        ]
        for start in range(0, len(steps), 90):
            own.write(rng.sample(steps[start : start + 90], 90))

    threads = [threading.Thread(target=write, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(figures) == (300, 300, 0, 0, 0)
    assert figures.window(3600, NOW + 60).succeeded == 300


def test_errors(index, figures):
    index.write([failed(), failed("t2", worker="w2"), failed("t3", error="what is this: no class")])
    index.write([failed("t4", error="celery.exceptions.WorkerLostError")])
    found = figures.by_name()["app.a"]
    assert found.errors == {"ValueError": 2, OTHER: 1, "celery.exceptions.WorkerLostError": 1}
    assert found.failed == 4
    assert figures.worker_errors() == {
        ("w1", "ValueError"): 1,
        ("w2", "ValueError"): 1,
        ("w1", OTHER): 1,
        ("w1", "celery.exceptions.WorkerLostError"): 1,
    }


def test_names_are_bounded(client, figures, monkeypatch):
    small = index_module._WRITE.replace(f"names = {LIMITS['names']}", "names = 3")
    small = small.replace(f"queues = {LIMITS['queues']}", "queues = 2")
    small = small.replace(f"errors = {LIMITS['errors']}", "errors = 1")
    monkeypatch.setattr(index_module, "_WRITE", small)
    index = TaskIndex(client, 100, 3600)
    for number in range(6):
        index.write([failed(f"t{number}", name=f"app.{number}", queue=f"q{number}", received=NOW)])
    found = figures.by_name()
    assert {name: each.failed for name, each in found.items()} == {
        "app.0": 1,
        "app.1": 1,
        "app.2": 1,
        OTHER: 3,
    }
    assert found[OTHER].errors == {OTHER: 5}
    series = figures.series(NOW, NOW + 10, 10)
    assert {name: each.failed for name, each in series.queues.items()} == {"q0": [1], "q1": [1], OTHER: [4]}
    assert figures.totals().failed == 6


def test_a_series(index, figures):
    for number in range(20):
        index.write(
            [
                received(f"a{number}", since=NOW),
                succeeded(f"a{number}", NOW + number, runtime=0.2, started=NOW + number, since=NOW),
                failed(f"b{number}", NOW + 12, queue="other"),
            ]
        )
    series = figures.series(NOW, NOW + 30, 10)
    assert series.at == [NOW, NOW + 10, NOW + 20]
    assert set(series.queues) == {"celery", "other"}
    celery = series.queues["celery"]
    assert (celery.received, celery.succeeded, celery.failed) == ([20, 0, 0], [10, 10, 0], [0, 0, 0])
    assert series.queues["other"].failed == [0, 20, 0]
    assert celery.wait_p50[1] == pytest.approx(20, abs=10)
    assert celery.wait_p95[0] == pytest.approx(9, abs=1)
    assert 0.1 < celery.run_p50[0] <= 0.25
    assert celery.run_p50[2] is celery.wait_p95[2] is celery.backlog[0] is None
    # The same, in large buckets
    series = figures.series(NOW, NOW + 1, COARSE)
    assert (series.at, series.queues["celery"].succeeded) == ([NOW], [20])
    assert (
        figures.series(NOW, NOW + 600, COARSE + 1).at
        == [NOW // 600 * 600, NOW // 600 * 600 + 600][: 1 if NOW % 600 == 0 else 2]
    )


def test_gauges_are_sampled_once(client, figures):
    assert figures.sample(NOW, {"celery": (5, 2, 1.5)})
    assert not figures.sample(NOW + 9, {"celery": (6, 2, 1.5)})
    assert figures.sample(NOW + 10, {"celery": (7, 3, None), "mail": (0, 0, None)})
    series = figures.series(NOW, NOW + 30, 10)
    assert series.queues["celery"].backlog == [5, 7, None]
    assert series.queues["celery"].running == [2, 3, None]
    assert series.queues["celery"].oldest == [1.5, None, None]
    assert series.queues["mail"].backlog == [None, 0, None]
    assert figures.series(NOW, NOW + 30, COARSE).queues["celery"].backlog == [5]


def test_a_window_is_exact_though_it_takes_large_buckets(index, figures):
    moments = range(0, 7200, 10)
    index.write([succeeded(f"t{at}", NOW - at, worker="") for at in moments])
    for seconds in (10, 60, 290, 600, 3600, 7000):
        assert figures.window(seconds, NOW + 1).succeeded == pytest.approx(seconds / 10 + 1, abs=1), seconds
    assert figures.window(600, NOW - 1000).succeeded == 60
    assert figures.window(86400, NOW + 1).succeeded == len(moments)


def test_buckets_expire(client, index, figures):
    index.write([succeeded(at=time.time())])
    ttl = {key: client.ttl(key) for key in client.scan_iter("fleet:figures:*:celery")}
    assert sorted(round(value / 100) for value in ttl.values()) == sorted(
        round((KEPT[size] + size) / 100) for size in (FINE, COARSE)
    )


def test_speed_is_that_of_the_index(client):
    """Counting is a part of writing: a few hundred commands more for a batch of 200 tasks, not for each task."""
    index = TaskIndex(client, 10_000, 3600)
    before = client.info("commandstats").get("cmdstat_hincrby", {"calls": 0})["calls"]
    index.write([succeeded(f"t{number}", NOW + number % 5, received=NOW) for number in range(200)])
    grown = client.info("commandstats")["cmdstat_hincrby"]["calls"] - before
    assert grown < 40
