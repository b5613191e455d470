"""Tasks run on the pool that owns their queue, under its limits; pools come and go without a trace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from acceptance import units
from acceptance.application import SLEEP, Application, Task
from acceptance.playbook import Overrides, Playbooks
from acceptance.waiting import eventually
from hosts import Fleet
from security.confinement import Attempt, in_place_of

HOST = "worker1"
REMOVED, REMOVED_QUEUE = "cpu", "cpu_intensive"
RENAMED, NEW_NAME, RENAMED_QUEUE = "default", "general", "default"
OPENED: dict[Attempt, tuple[str, Any]] = {
    ("write", "/srv/opened"): ("ReadWritePaths", ["/srv/opened"]),
    ("socket", "AF_NETLINK"): ("RestrictAddressFamilies", ["AF_NETLINK"]),
    ("processes", ""): ("ProtectProc", "default"),
    ("namespace", ""): ("RestrictNamespaces", False),
    ("ping", ""): ("AmbientCapabilities", ["CAP_NET_RAW"]),
}
"""What the pool with a new name may do that others may not, and by which key of its sandbox."""
ROUNDS = 5
"""Echoes to each queue: a pool that takes what is not its own may lose a race, not five."""


def test_tasks_run_on_the_pool_that_owns_their_queue(
    app: Application, owners: dict[str, tuple[str, str]], as_inventoried: None
) -> None:
    """P1, F4, F6: a queue named after a server is consumed on that server, every other where the inventory says."""
    sent = [app.echoes(owners) for _ in range(ROUNDS)]
    for tasks in sent:
        for queue, task in tasks.items():
            host, pool = owners[queue]
            answer = task.result()
            assert {key: answer[key] for key in ("host", "pool", "worker", "queue")} == {
                "host": host,
                "pool": pool,
                "worker": f"{pool}@{host}",
                "queue": queue,
            }


def process_of(app: Application, queue: str, host: Host) -> int | None:
    """The process that has run a task, unless that was its last one: children are replaced after so many."""
    pid: int = app.echo(queue).result()["pid"]
    time.sleep(0.5)
    return pid if host.file(f"/proc/{pid}/cgroup").exists else None


def test_tasks_run_under_the_limits_of_their_pool(
    app: Application, owners: dict[str, tuple[str, str]], fleet: Fleet, as_inventoried: None
) -> None:
    """C4, C10: the process that runs a task is in its pool's control group, whose limit is the unit's."""
    for (name, pool), queue in {place: queue for queue, place in owners.items()}.items():
        host = fleet.host(name)
        pid = eventually(lambda: process_of(app, queue, host), "a process that stays")  # noqa: B023 - called at once
        shown = units.show(host, units.worker(pool), "ControlGroup", "MemoryMax")
        assert units.cgroup_of(host, pid).endswith(shown["ControlGroup"])
        assert shown["ControlGroup"].endswith(f"/celery-worker.slice/{units.worker(pool)}")
        assert units.memory_limit(host, pid) == int(shown["MemoryMax"])
        assert host.check_output(f"stat -c %U /proc/{pid}") == "celery"


def test_the_limit_of_a_pool_is_that_of_the_plan(
    playbooks: Playbooks, fleet: Fleet, as_inventoried: None
) -> None:
    """C4: what an explicit pool asks for, and not more, is what the kernel gives it."""
    pool = playbooks.value(HOST, "celery_worker_pools")[REMOVED]
    megabytes = pool["concurrency"] * int(pool["memory_per_child"][:-1]) + int(pool["memory_parent"][:-1])
    shown = units.show(fleet.host(HOST), units.worker(REMOVED), "MemoryMax")
    assert int(shown["MemoryMax"]) == megabytes << 20


def traces(host: Host, pool: str) -> str:
    """All that a host has of a pool: unit, files, links, processes."""
    unit = units.worker(pool)
    commands = (
        f"systemctl list-units --all --plain --no-legend '{unit}'",
        f"systemctl list-unit-files --no-legend '{unit}'",
        f"find /etc/systemd /run/systemd /etc/celery-fleet -path '*celery-worker@{pool}.*' -o -name '{pool}.env'",
        # pgrep fails when it finds nothing, which is an answer here
        f"pgrep --uid celery --list-full --full -- '--hostname={pool}@' || true",
        f"find /sys/fs/cgroup -maxdepth 4 -name '{unit}'",
    )
    return str(host.check_output("; ".join(commands)))


def test_a_running_pool_leaves_traces(fleet: Fleet, as_inventoried: None) -> None:
    """Else it would prove nothing that a removed one leaves none."""
    found = traces(fleet.host(HOST), REMOVED)
    for word in (
        f"{REMOVED}.env",
        "50-pool.conf",
        "celery-worker.target.wants",
        "running",
        "python",
        "/sys/fs/",
    ):
        assert word in found


def other_pools(playbooks: Playbooks) -> Overrides:
    """One pool gone from the host, one with a new name and an opened sandbox.

    The queue of the first is promised to a pool elsewhere.
    """
    here = playbooks.value(HOST, "celery_worker_pools")
    del here[REMOVED]
    here = {NEW_NAME if name == RENAMED else name: settings for name, settings in here.items()}
    here[NEW_NAME]["sandbox"] = dict(OPENED.values())
    there = playbooks.value("worker2", "celery_worker_pools")
    there["background"]["queues"].append(REMOVED_QUEUE)
    return {HOST: {"celery_worker_pools": here}, "worker2": {"celery_worker_pools": there}}


@dataclass(frozen=True)
class Shape:
    """The host with other pools; what was sent to the queue that nobody consumes now, and how long that is."""

    waiting: list[Task]
    length: int
    during: Task


@pytest.fixture(scope="module")
def reshaped(playbooks: Playbooks, app: Application) -> Shape:
    """Only this host is converged: the pool that would take over the queue does not do so yet."""
    playbooks.converged_to()
    playbooks.fleet.host(HOST).check_output("install -d -o celery /srv/opened")
    during = app.send(SLEEP, RENAMED_QUEUE, seconds=6)
    during.until("STARTED")
    playbooks.run("site.yml", f"--limit={HOST}", overrides=other_pools(playbooks))
    length = app.waiting(REMOVED_QUEUE)
    waiting = [app.echo(REMOVED_QUEUE) for _ in range(3)]
    return Shape(waiting, length + len(waiting), during)


@pytest.mark.usefixtures("reshaped")
class TestReshapedHost:
    def test_a_removed_pool_leaves_no_trace(self, fleet: Fleet) -> None:
        assert traces(fleet.host(HOST), REMOVED) == ""

    def test_a_renamed_pool_leaves_no_trace_of_its_old_name(self, fleet: Fleet) -> None:
        assert traces(fleet.host(HOST), RENAMED) == ""

    def test_a_renamed_pool_does_its_work_under_its_new_name(self, app: Application, fleet: Fleet) -> None:
        units.until_ready(fleet.host(HOST), units.worker(NEW_NAME))
        assert app.echo(RENAMED_QUEUE).result()["worker"] == f"{NEW_NAME}@{HOST}"

    def test_a_pool_may_do_what_its_sandbox_is_opened_for(self, fleet: Fleet) -> None:
        host = fleet.host(HOST)
        answers = in_place_of(host, f"celery-worker@{NEW_NAME}", list(OPENED))
        assert [(attempt, answer.text) for attempt, answer in answers.items() if not answer.allowed] == []
        others = in_place_of(host, "celery-worker@checks", list(OPENED))
        assert [(attempt, answer.text) for attempt, answer in others.items() if answer.allowed] == []

    def test_what_ran_when_the_pool_was_renamed_has_finished(self, reshaped: Shape) -> None:
        assert reshaped.during.result()["pool"] == RENAMED

    def test_messages_of_a_queue_without_a_pool_wait(self, reshaped: Shape, app: Application) -> None:
        assert app.waiting(REMOVED_QUEUE) == reshaped.length
        assert {task.state for task in reshaped.waiting} == {"PENDING"}

    def test_added_back_the_pool_runs_what_has_waited(
        self, reshaped: Shape, playbooks: Playbooks, app: Application, fleet: Fleet
    ) -> None:
        playbooks.converged_to()
        assert {task.result()["pool"] for task in reshaped.waiting} == {REMOVED}
        eventually(lambda: app.waiting(REMOVED_QUEUE) == 0, "the queue is empty")
        assert traces(fleet.host(HOST), NEW_NAME) == ""
