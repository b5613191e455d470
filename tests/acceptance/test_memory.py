"""F7, C4: a task that takes more memory than its pool has costs its own process, and nothing else.

What becomes of the task in the end is seen in test_services.py: its retries wait for minutes.
"""

from __future__ import annotations

import pytest

from acceptance import units
from acceptance.application import Application
from acceptance.overrun import Overrun
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")


def test_the_kernel_takes_the_child_and_the_task_is_tried_again(overrun: Overrun, fleet: Fleet) -> None:
    overrun.task.until("RETRY")
    told = overrun.told(fleet)
    assert any("Task retry scheduled" in line and "SIGKILL" in line for line in told), told
    host = fleet.host(Overrun.HOST)
    assert units.kills(host, units.main_pid(host, units.worker(Overrun.POOL))) == overrun.kills + 1


def test_what_ran_beside_it_has_finished(overrun: Overrun) -> None:
    assert [task.result()["seconds"] >= 8 for task in overrun.beside] == [True, True, True]


def test_no_service_was_restarted(overrun: Overrun, fleet: Fleet) -> None:
    assert units.replaced(overrun.pids, units.main_pids(fleet)) == set()


@pytest.mark.usefixtures("overrun")
def test_the_pool_goes_on(app: Application) -> None:
    assert {task.result()["pool"] for task in [app.echo(Overrun.QUEUE) for _ in range(6)]} == {Overrun.POOL}
