"""What counts as a problem."""

from dataclasses import replace

import pytest

from celery_fleet.delivery.pausing import Pause
from celery_fleet.survey.backlog import Backlog
from celery_fleet.survey.health import PROBLEM, WARNING, BeatReading, Finding, RedisReading, headline, judge
from celery_fleet.survey.reading import redis_reading
from celery_fleet.survey.roster import ALIVE, DEAD, GONE, SILENT, STOPPED, Worker

REDIS = RedisReading("7.0.15", used=50, limit=100, append_only=True, last_write_ok=True, policy="noeviction")
WORKER = Worker("default@a", ALIVE, "a", queues=("celery",))
CONSUMED = frozenset({"celery"})


def test_a_fleet_that_is_well_has_no_findings() -> None:
    assert judge(REDIS, [WORKER], [Backlog("celery", {5: 100})], CONSUMED) == []
    assert headline([]) == "well"


@pytest.mark.parametrize(
    ("redis", "level", "text"),
    [
        (replace(REDIS, used=90), PROBLEM, "90% of its"),
        (replace(REDIS, last_write_ok=False), PROBLEM, "could not write"),
        (replace(REDIS, policy="allkeys-lru"), PROBLEM, "evicts"),
        (replace(REDIS, append_only=False), WARNING, "append-only"),
    ],
)
def test_redis(redis: RedisReading, level: str, text: str) -> None:
    (finding,) = judge(redis, [WORKER], [], CONSUMED)
    assert finding.level == level
    assert text in finding.text


def test_what_redis_does_not_say_is_no_problem() -> None:
    assert judge(RedisReading(), [WORKER], [], CONSUMED) == []


@pytest.mark.parametrize(
    ("state", "level"), [(DEAD, PROBLEM), (STOPPED, PROBLEM), (GONE, PROBLEM), (SILENT, WARNING)]
)
def test_workers(state: str, level: str) -> None:
    (finding,) = judge(REDIS, [WORKER, Worker("io@b", state, "b")], [], CONSUMED)
    assert finding.level == level
    assert "io@b" in finding.text


def test_a_fleet_without_workers_is_not_well() -> None:
    assert judge(REDIS, [], [], None) == [Finding(PROBLEM, "no worker is alive")]


def test_tasks_that_nobody_will_take() -> None:
    backlogs = [Backlog("celery", {5: 1}), Backlog("email", {3: 2, 10: 1}), Backlog("idle")]
    (finding,) = judge(REDIS, [WORKER], backlogs, CONSUMED)
    assert finding == Finding(PROBLEM, "nobody consumes the queue email: 3 tasks waiting there")
    assert judge(REDIS, [WORKER], backlogs, None) == [], "not judged while a worker has not answered"


def test_problems_come_first_and_are_counted() -> None:
    found = judge(replace(REDIS, append_only=False), [Worker("io@b", DEAD, "b"), WORKER], [], CONSUMED)
    assert [finding.level for finding in found] == [PROBLEM, WARNING]
    assert headline(found) == "1 problem, 1 warning"


def test_the_reading_of_redis() -> None:
    said = {
        "redis_version": "7.0.15", "used_memory": 1, "maxmemory": 2, "maxmemory_policy": "noeviction",
        "aof_enabled": 1, "rdb_last_bgsave_status": "ok", "aof_last_write_status": "ok",
        "aof_last_bgrewrite_status": "ok",
    }  # fmt: skip
    assert redis_reading(said) == RedisReading("7.0.15", 1, 2, True, True, "noeviction")
    assert redis_reading({**said, "aof_last_write_status": "err"}).last_write_ok is False
    assert redis_reading({**said, "maxmemory": 0}).share is None


@pytest.mark.parametrize(
    ("beat", "level", "text"),
    [
        (BeatReading(2, 200), PROBLEM, "no sign of life for 200s, so nothing sends 2 periodic tasks"),
        (BeatReading(1, None), WARNING, "never run, so nothing sends 1 periodic task"),
    ],
)
def test_beat(beat: BeatReading, level: str, text: str) -> None:
    (finding,) = judge(REDIS, [WORKER], [], CONSUMED, beat=beat)
    assert finding.level == level
    assert text in finding.text


@pytest.mark.parametrize("beat", [BeatReading(1, 3.0), BeatReading(0, None), BeatReading(0, 900), None])
def test_beat_that_is_well_or_not_needed(beat: BeatReading | None) -> None:
    assert judge(REDIS, [WORKER], [], CONSUMED, beat=beat) == []


def test_pauses_are_told_with_their_end() -> None:
    pauses = [Pause("queue", "email", "ann", 0.0, "a move"), Pause("worker", "default", "bob", 0.0)]
    assert judge(REDIS, [WORKER], [], CONSUMED, pauses=pauses) == [
        Finding(WARNING, "paused: the queue email, by ann (a move). `fleet resume email`"),
        Finding(WARNING, "drained: default, by bob. `fleet undrain default`"),
    ]
