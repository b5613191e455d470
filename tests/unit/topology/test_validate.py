"""Every fault of an inventory is found, alone, where it is, and told in words that help."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_fleet.topology import Problem, validate_fleet
from unit.topology.bad_fleets import BAD, Bad
from unit.topology.fleets import (
    ADDRESSES,
    Change,
    address,
    both,
    bulk_pool,
    every,
    good_fleet,
    groups,
    one,
    pool,
    unset,
)
from unit.topology.garbage import JSON, paths


def problems_of(change: Change) -> list[Problem]:
    fleet = good_fleet()
    change(fleet)
    return validate_fleet(fleet)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_fleet_is_told(bad: Bad) -> None:
    problems = problems_of(bad.change)
    told = [problem for problem in problems if problem.where == bad.where]
    assert told, [str(problem) for problem in problems]
    text = str(told[0])
    for word in bad.words:
        assert word in text
    assert told[0].host == bad.host
    assert told[0].remedy
    assert "s3cret" not in text
    if bad.alone:
        assert [str(problem) for problem in problems] == [text]


def test_cases_have_names_of_their_own() -> None:
    assert len({bad.id for bad in BAD}) == len(BAD)


GOOD = {
    "as it is": both(),
    "one host for everything": lambda fleet: fleet.update(
        groups={name: ["one"] for name in ("redis", "workers", "beat", "monitoring")},
        hosts={"one": {"address": "127.0.0.1", "vars": {"celery_app": "shop"}}},
    ),
    "one host with a public address": lambda fleet: fleet.update(
        groups={"redis": ["one"], "workers": ["one"]},
        hosts={"one": {"address": "8.8.8.8", "vars": {"celery_app": "shop:app"}}},
    ),
    "no Beat and no schedule": both(groups(beat=[]), unset("celery_beat_schedule")),
    "no monitoring": groups(monitoring=[]),
    "variables of the user": every("celery_shop_title", to="x"),
    "variables of a role": both(
        every("celery_worker_packages", to=[]),
        every("celery_beat_schedule_file", to="/x"),
        every("redis_port", to=6380),
    ),
    "strings of ansible-playbook -e": both(
        pool(concurrency="4", prefetch_multiplier="2", memory_per_child="1073741824"),
        every("celery_time_limit", to="3600"),
        every("celery_queues", "bulk", "retry", to={"jitter": "False", "backoff": "1.5", "max_retries": "7"}),
    ),
    "no soft limit": every("celery_soft_time_limit", to=None),
    "short queue without a soft limit": every(
        "celery_queues", "bulk", to={"time_limit": 5, "soft_time_limit": None}
    ),
    "gevent enforces hard limits": every("celery_queues", "bulk", to={"time_limit": "2h"}),
    "threads under the default limit": bulk_pool(kind="threads"),
    "solo with one task": bulk_pool(kind="solo", concurrency=1),
    "autoscale": pool(autoscale={"min": 2, "max": 8}, concurrency="auto"),
    "children that are never replaced": pool(max_tasks_per_child=None),
    "stop timeout of the longest task": pool(stop_timeout="30m"),
    "short stop that requeues": pool(stop_timeout=60, stop_policy="requeue"),
    "pools differ between hosts": one("worker2", "celery_host_cpus", to=2),
    "defaults written out on some hosts": one("worker2", "celery_default_queue", to="celery"),
    "a worker with the default pool": both(
        every("celery_queues", to={"celery": None, "bulk": None}),
        every("celery_task_routes", to=[]),
        lambda fleet: fleet["hosts"]["worker1"]["vars"].pop("celery_worker_pools"),
    ),
    "queues of hosts": both(
        one("worker1", "celery_host_queue", to=True),
        one("worker2", "celery_host_queue", to={"queue": {"time_limit": "1m", "soft_time_limit": None}}),
        one("redis1", "celery_host_queue", to=False),
    ),
    "a host with no other pool than its own": both(
        one("worker1", "celery_host_queue", to="true"),
        one("worker1", "celery_worker_pools", to={}),
        bulk_pool(queues=["bulk", "celery", "email"], kind="prefork"),
    ),
    "Redis by name": address("redis1", "redis1.example.org"),
    "Redis in the private network, IPv6": address("redis1", "fd00::1"),
    "Redis in a shared address space": address("redis1", "100.64.0.1"),
    "a host that is in no group": lambda fleet: fleet["hosts"].update(other={"vars": {"celery_queues": 5}}),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD.keys())
def test_good_fleet_passes(change: Change) -> None:
    assert [str(problem) for problem in problems_of(change)] == []


def test_all_problems_are_told_at_once() -> None:
    problems = problems_of(
        both(
            every("celery_queues", "email", "priority", to=11),
            every("celery_queues", "email", "urgency", to="now"),
            pool(kind="fork", concurrency=-1),
            groups(beat=[]),
        )
    )
    assert len(problems) == 5


def test_fault_of_several_hosts_is_told_once_and_names_them() -> None:
    fleet = good_fleet()
    for host in ("worker1", "worker2"):
        fleet["hosts"][host]["vars"]["celery_worker_pools"]["x"] = {"queues": ["celery"], "kind": "fork"}
    (problem,) = validate_fleet(fleet)
    assert (problem.host, problem.also) == ("worker1", ("worker2",))
    assert str(problem).startswith("celery_worker_pools.x.kind on worker1, worker2: 'fork' is not")


def test_message_has_place_fault_and_remedy() -> None:
    (problem,) = problems_of(every("celery_queues", "email", "priority", to=11))
    assert str(problem) == (
        "celery_queues.email.priority: 11 is not a priority from 1 to 10. "
        "Remedy: give a whole number from 1 to 10."
    )


def test_long_values_are_shortened() -> None:
    (problem,) = problems_of(every("celery_queues", "email", "urgency", to="x" * 500))
    assert len(str(problem)) < 200


def test_validate_changes_nothing() -> None:
    fleet = good_fleet()
    validate_fleet(fleet)
    assert fleet == good_fleet()


def test_subclasses_of_plain_types_are_read_and_shown_as_plain_ones() -> None:
    class Tagged(str):
        def __repr__(self) -> str:
            return f"Tagged({super().__repr__()})"

    (problem,) = problems_of(every("celery_queues", "email", "urgency", to=Tagged("soon")))
    assert "'soon' is not an urgency" in str(problem)
    assert "Tagged" not in str(problem)


@given(JSON)
def test_garbage_is_told_and_never_raises(garbage: Any) -> None:
    assert validate_fleet(garbage)


@given(st.sampled_from(paths(good_fleet())[1:]), JSON)
def test_garbage_anywhere_in_a_fleet_never_raises(path: tuple[Any, ...], garbage: Any) -> None:
    fleet = good_fleet()
    here: Any = fleet
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = garbage
    for problem in validate_fleet(fleet):
        assert str(problem)
        assert problem.host is None or problem.host in ADDRESSES


@given(st.dictionaries(st.sampled_from(sorted(good_fleet()["hosts"]["worker1"]["vars"])), JSON))
def test_garbage_for_variables_never_raises(variables: dict[str, Any]) -> None:
    fleet = good_fleet()
    fleet["hosts"]["worker1"]["vars"].update(variables)
    validate_fleet(fleet)
