"""Destructive tests of a whole fleet: they change its inventory, stop and kill its services, restart its hosts.

They run against the hosts of ANSIBLE_INVENTORY (inventories/local, unless it is set), like tests/infra, but only when
these are containers of the testbed, converged before: `make up`, then `pytest tests/acceptance`. At the end the fleet
is as the inventory says.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from acceptance import units
from acceptance.application import Application
from acceptance.overrun import Overrun
from acceptance.playbook import Playbooks
from hosts import Fleet, header, read_fleet


def pytest_report_header() -> list[str]:
    return header(read_fleet())


def pytest_itemcollected(item: pytest.Item) -> None:
    # What a client of Redis leaves behind when Redis restarts, see `app`.
    item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    if report.failed and call.when != "teardown" and "acceptance" in item.path.parts:
        report.sections.append(("journal of the fleet", _journal(call.start)))
    return report


def _journal(since: float) -> str:
    try:
        return units.logs_since(read_fleet(), since - 2)
    except Exception as error:  # the report of the failure is worth more than this part of it
        return f"cannot be read: {error}"


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The hosts under test."""
    found = read_fleet()
    if not all("testbed_name" in found.variables(name) for name in found.names):
        pytest.exit(
            "These tests break things on purpose, and the inventory has real hosts. Name one of containers.",
            2,
        )
    return found


@pytest.fixture(scope="session")
def playbooks(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playbooks]:
    """Ansible. At the end, the fleet is brought back to its inventory."""
    runner = Playbooks(fleet, tmp_path_factory.mktemp("ansible"))
    yield runner
    runner.converged_to()


@pytest.fixture(scope="session")
def app(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application outside the fleet."""
    with pytest.MonkeyPatch.context() as environ:
        application = Application.outside(fleet, tmp_path_factory.mktemp("application"), environ)
        yield application
        application.close()
        del application
    with warnings.catch_warnings():  # a client leaves its socket behind when Redis restarts
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def owners(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Queue name to the host and the pool that the inventory has it consumed by."""
    return {
        queue: (host, pool)
        for host in fleet.groups["workers"]
        for pool, settings in fleet.pools(host).items()
        for queue in settings["queues"]
    }


@pytest.fixture
def as_inventoried(playbooks: Playbooks) -> None:
    """The fleet is as its inventory says."""
    playbooks.converged_to()


@pytest.fixture(scope="session")
def overrun(playbooks: Playbooks, fleet: Fleet, app: Application) -> Overrun:
    """A task that wants more memory than its pool has; once for all tests, because its retries take minutes."""
    playbooks.converged_to()
    return Overrun.begin(fleet, app)
