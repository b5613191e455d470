"""A task that takes more memory than its pool has costs its own process, and nothing else. See F7."""

from __future__ import annotations

from acceptance import units
from acceptance.application import Application
from acceptance.conftest import CPU_POOL, Overrun
from hosts import Fleet


def test_the_kernel_takes_the_child_and_the_task_is_tried_again(
    self, overrun: Overrun, fleet: Fleet
) -> None:
    overrun.task.until("RETRY")
    lines = units.journal(fleet.host(HOST), f"TASK_ID={overrun.task.id}")
    messages = [line["MESSAGE"] for line in lines]
    assert any("Task retry scheduled" in message and "SIGKILL" in message for message in messages), (
        messages
    )
    assert units.journal(
        fleet.host(HOST), "-u", units.worker(POOL), f"--since={overrun.since}", "--grep=OOM"
    ), "systemd tells of the kernel's kill"

def test_what_ran_beside_it_has_finished(overrun: Overrun) -> None:
    assert [task.result()["seconds"] >= 8 for task in overrun.beside] == [True, True, True]

def test_no_service_was_restarted(overrun: Overrun, fleet: Fleet) -> None:
    assert units.replaced(overrun.pids, units.main_pids(fleet)) == set()

def test_the_pool_goes_on(overrun: Overrun, app: Application) -> None:
    assert {task.result()["pool"] for task in [app.echo(QUEUE) for _ in range(6)]} == {POOL}
