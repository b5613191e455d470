"""Tests that look at hosts, by ssh: those of an inventory, whichever it is.

`pytest tests/infra` looks at inventories/local, `ANSIBLE_INVENTORY=inventories/production pytest tests/infra`
at your own hosts. A test that takes `host` (testinfra's view of a host) or `variables` (what the inventory
says about it) runs once on each host, or on those of `@pytest.mark.group("workers")`. `fleet` has all hosts.
"""

from __future__ import annotations

import pytest
from testinfra.host import Host

from hosts import Fleet, Variables, connect, header, read_fleet

OPTIONAL = {"console", "flower", "edge"}
"""Groups that an inventory need not have."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "group(name, ...): run on the hosts of these inventory groups")


def pytest_report_header() -> list[str]:
    return header(read_fleet())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hostname" not in metafunc.fixturenames:
        return
    fleet = read_fleet()
    marker = metafunc.definition.get_closest_marker("group")
    groups = marker.args if marker else ("all",)
    wanted = [name for name in fleet.names if any(name in fleet.groups.get(group, ()) for group in groups)]
    if not wanted and set(groups) <= OPTIONAL:
        # A fleet may do without these groups; those that every fleet has are an error below.
        reason = f"no host of the group {' or '.join(groups)}"
        metafunc.parametrize("hostname", [pytest.param("", marks=pytest.mark.skip(reason=reason))])
        return
    if not wanted:
        raise pytest.UsageError(f"no host of the group {' or '.join(groups)} in {', '.join(fleet.sources)}")
    metafunc.parametrize("hostname", wanted, scope="session")


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """All hosts and groups of the inventory."""
    return read_fleet()


@pytest.fixture(scope="session")
def host(hostname: str) -> Host:
    """The host that the test looks at, as root."""
    return connect(hostname)


@pytest.fixture(scope="session")
def variables(hostname: str) -> Variables:
    """What the inventory says about the host that the test looks at."""
    return read_fleet().variables(hostname)
