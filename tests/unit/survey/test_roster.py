"""Who is alive, silent, dead or stopped."""

from pathlib import Path
from typing import Any

import pytest

from celery_fleet.survey.roster import (
    ALIVE,
    DEAD,
    GONE,
    SILENT,
    STOPPED,
    Answers,
    Lease,
    kind_of,
    local_nodes,
    roster,
)


def answers(**more: Any) -> Answers:
    stats = {
        "pid": 42,
        "uptime": 100,
        "total": {"app.add": 5, "app.nap": 2},
        "pool": {"implementation": "celery.concurrency.prefork:TaskPool", "max-concurrency": 4},
    }
    return Answers(**{"stats": stats, "active": [{"id": "x"}], "queues": ("celery",), **more})


def lease(node: str, age: float = 0.5) -> Lease:
    return Lease(node, node.partition("@")[2], 42, age)


def test_who_answers_is_alive_and_says_what_it_does() -> None:
    (worker,) = roster([lease("io@a")], {"io@a": answers()}, [])
    assert (worker.state, worker.pool, worker.host, worker.pid) == (ALIVE, "io", "a", 42)
    assert (worker.kind, worker.concurrency, worker.busy, worker.done) == ("prefork", 4, 1, 6)
    assert worker.queues == ("celery",)


@pytest.mark.parametrize(("age", "state"), [(0.5, SILENT), (9.9, SILENT), (10.1, DEAD), (3600, DEAD)])
def test_who_does_not_answer_is_judged_by_its_lease(age: float, state: str) -> None:
    (worker,) = roster([lease("io@a", age)], {}, [])
    assert worker.state == state
    assert worker.busy is None


def test_who_answers_needs_no_lease() -> None:
    (worker,) = roster([], {"io@a": answers()}, [])
    assert (worker.state, worker.age, worker.pid) == (ALIVE, None, 42)


def test_a_pool_of_this_host_that_does_not_run_is_stopped() -> None:
    found = roster([lease("io@a")], {"io@a": answers()}, ["io@a", "mail@a"])
    assert [(worker.node, worker.state) for worker in found] == [("io@a", ALIVE), ("mail@a", STOPPED)]


def test_a_worker_whose_work_others_have_is_gone_until_it_is_back() -> None:
    gone = {"io@a": 90.0}
    (worker,) = roster([], {}, ["io@a"], gone)
    assert (worker.state, worker.age, worker.host) == (GONE, 90.0, "a")
    assert roster([lease("io@a")], {}, [], gone)[0].state == SILENT
    assert roster([], {"io@a": answers()}, [], gone)[0].state == ALIVE


def test_workers_are_sorted_by_pool() -> None:
    found = roster([lease("b@1"), lease("a@2"), lease("a@1")], {}, [])
    assert [worker.node for worker in found] == ["a@1", "a@2", "b@1"]


def test_the_pools_of_a_host_are_read_beside_its_topology(tmp_path: Path) -> None:
    assert local_nodes(tmp_path / "topology.json", "h") == []
    (tmp_path / "pools").mkdir()
    for name in ("mail.env", "cpu.env", "cpu.env~"):
        (tmp_path / "pools" / name).touch()
    assert local_nodes(tmp_path / "topology.json", "h") == ["cpu@h", "mail@h"]


@pytest.mark.parametrize(
    ("module", "kind"),
    [("prefork", "prefork"), ("thread", "threads"), ("gevent", "gevent"), ("solo", "solo")],
)
def test_kinds_are_named_as_the_inventory_names_them(module: str, kind: str) -> None:
    assert kind_of(f"celery.concurrency.{module}:TaskPool") == kind
