"""Who is there, by what is known of workers."""

from dataclasses import replace

from celery_fleet.console.workers import Sources, Staff, pools_of, staff_of
from celery_fleet.delivery.pausing import Pause
from celery_fleet.store.presence import Presence
from celery_fleet.survey.roster import Lease

NOW = 1_000_000.0
WORD = Presence(
    node="mail@a",
    host="a",
    pid=7,
    pool="mail",
    kind="threads",
    concurrency=4,
    queues=("email",),
    busy=1,
    done=10,
    failed=2,
    started_at=NOW - 500,
    release="r1",
    memory=1000,
    largest_child=600,
    running=(),
    at=NOW - 1,
)
LEASE = Lease("mail@a", "a", 7, 0.5)


def look(**known: object) -> Staff:
    return staff_of(Sources(**{"leases": (LEASE,), "presences": (WORD,), **known}), NOW)  # type: ignore[arg-type]


def states(staff: Staff) -> dict[str, str]:
    return {worker.node: worker.state for worker in staff.workers}


def test_a_worker_with_a_lease_and_a_word_is_alive() -> None:
    staff = look()
    [worker] = staff.workers
    assert (worker.state, worker.pid, worker.busy, worker.done, worker.failed) == ("alive", 7, 1, 10, 2)
    assert worker.seen is not None
    assert worker.seen.timestamp() == NOW - 0.5
    assert worker.cannot == ["end a task that runs", "enforce time limits"]
    assert list(staff.presences) == ["mail@a"]
    assert staff.consumers("email") == [worker]
    assert staff.consumers("other") == []


def test_the_lease_decides_who_is_dead() -> None:
    assert states(look(leases=(replace(LEASE, age=11),))) == {"mail@a": "dead"}
    assert states(look(presences=())) == {"mail@a": "silent"}
    # A clock that goes ahead or behind by some seconds makes nobody silent.
    assert states(look(presences=(replace(WORD, at=NOW - 40),))) == {"mail@a": "alive"}
    assert states(look(presences=(replace(WORD, at=NOW - 100),))) == {"mail@a": "silent"}
    [dead] = look(leases=(replace(LEASE, age=11),)).workers
    assert (dead.busy, dead.memory, dead.kind) == (None, None, "threads")


def test_who_is_gone_or_has_stopped() -> None:
    old = replace(WORD, at=NOW - 100)
    assert states(look(leases=(), presences=(old,), gone={"mail@a": 60.0})) == {"mail@a": "gone"}
    assert states(look(leases=(), presences=(old,))) == {}, "it has stopped as it should, or was forgotten"
    assert states(look(leases=(), presences=(), local=("mail@a",))) == {"mail@a": "stopped"}
    assert states(look(leases=(), presences=(WORD,))) == {"mail@a": "alive"}


def test_without_leases_the_last_word_decides() -> None:
    assert states(look(leases=(), leased=False)) == {"mail@a": "alive"}
    assert states(look(leases=(), presences=(replace(WORD, at=NOW - 11),), leased=False)) == {
        "mail@a": "dead"
    }


def test_who_is_drained_by_name_or_with_the_pool() -> None:
    for name in ("mail@a", "mail"):
        staff = look(pauses=(Pause("worker", name, "ann", NOW, "disk"),))
        [worker] = staff.workers
        assert worker.draining is not None
        assert (worker.draining.by, worker.draining.reason) == ("ann", "disk")
        assert staff.consumers("email") == []
    assert look(pauses=(Pause("queue", "mail", "ann", NOW),)).workers[0].draining is None


def test_pools_are_the_workers_of_one_name() -> None:
    other = replace(WORD, node="mail@b", host="b", busy=3, release="r2")
    gone = {"mail@c": 60.0}
    staff = look(leases=(LEASE, replace(LEASE, node="mail@b", host="b")), presences=(WORD, other), gone=gone)
    [pool] = pools_of(staff.workers)
    assert (pool.workers, pool.alive, pool.hosts) == (3, 2, ["a", "b", "c"])
    assert (pool.concurrency, pool.busy, pool.saturation, pool.done) == (8, 4, 0.5, 20)
    assert (pool.releases, pool.memory, pool.kind) == (["r1", "r2"], 2000, "threads")
    [empty] = pools_of(look(leases=(), presences=(), gone=gone).workers)
    assert (empty.alive, empty.saturation, empty.memory) == (0, None, None)
