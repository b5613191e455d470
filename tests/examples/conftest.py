"""Tests of the apps below examples/, deployed as their inventories say: `make molecule SCENARIO=django`.

They run against the hosts of ANSIBLE_INVENTORY, when these are containers of the testbed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testinfra.host import Host

from acceptance.application import Application
from acceptance.playbook import Playbooks
from hosts import Fleet, header, read_fleet


def pytest_report_header() -> list[str]:
    return header(read_fleet())


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The hosts under test."""
    found = read_fleet()
    if not all("testbed_name" in found.variables(name) for name in found.names):
        pytest.exit("These tests kill workers on purpose, and the inventory has real hosts.", 2)
    return found


@pytest.fixture(scope="session")
def host(fleet: Fleet) -> Host:
    """The only host."""
    (name,) = fleet.names
    return fleet.host(name)


@pytest.fixture(scope="session")
def app(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application outside the fleet."""
    with pytest.MonkeyPatch.context() as environ:
        application = Application.outside(fleet, tmp_path_factory.mktemp("application"), environ)
        yield application
        application.close()


@pytest.fixture(scope="session")
def playbooks(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Playbooks:
    """Ansible."""
    return Playbooks(fleet, tmp_path_factory.mktemp("ansible"))
