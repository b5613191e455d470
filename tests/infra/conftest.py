"""Tests that look at hosts, by ssh: those of an inventory, whichever it is.

`pytest tests/infra` looks at inventories/local, `ANSIBLE_INVENTORY=inventories/production pytest tests/infra`
at your own hosts. A test that takes `host` (testinfra's view of a host) or `variables` (what the inventory
says about it) runs once on each host, or on those of `@pytest.mark.group("workers")`. `fleet` has all hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import testinfra
from ansible import constants
from ansible.cli import CLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from testinfra.host import Host

TIMEOUT = 10
"""Seconds until an unreachable host is reported."""


@dataclass(frozen=True)
class Fleet:
    """The inventory: variables of each host, templated when read, and the hosts of each group."""

    names: list[str]
    groups: Mapping[str, list[str]]
    templars: Mapping[str, Templar]

    def variables(self, name: str) -> Variables:
        """What the inventory says about the host `name`."""
        return Variables(self.templars[name])

    def host(self, name: str) -> Host:
        """Testinfra's view of the host `name`, as root."""
        return _connect(name)


class Variables(Mapping[str, Any]):
    """Inventory variables of one host; templates are filled in one by one, as Ansible does."""

    def __init__(self, templar: Templar) -> None:
        self._templar = templar
        self._raw = templar.available_variables

    def __getitem__(self, name: str) -> Any:
        return self._templar.template(self._raw[name])

    def __iter__(self) -> Any:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@cache
def read_fleet() -> Fleet:
    """The inventory that ANSIBLE_INVENTORY or ansible.cfg names."""
    init_plugin_loader()
    loader = DataLoader()
    loader.set_vault_secrets(
        CLI.setup_vault_secrets(loader, constants.DEFAULT_VAULT_IDENTITY_LIST, auto_prompt=False)
    )
    inventory = InventoryManager(loader=loader, sources=constants.DEFAULT_HOST_LIST)
    manager = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts()
    return Fleet(
        names=[host.name for host in hosts],
        groups={name: [host.name for host in group.get_hosts()] for name, group in inventory.groups.items()},
        templars={host.name: Templar(loader, variables=manager.get_vars(host=host)) for host in hosts},
    )


@cache
def _connect(name: str) -> Host:
    variables = read_fleet().variables(name)
    if variables.get("ansible_connection", "ssh") != "ssh":
        return testinfra.get_host(f"ansible://{name}?force_ansible=True", sudo=True)
    user = variables.get("ansible_user")
    address = variables.get("ansible_host", name)
    port = variables.get("ansible_port", 22)
    return testinfra.get_host(
        f"ssh://{user}@{address}:{port}" if user else f"ssh://{address}:{port}",
        sudo=user != "root",
        timeout=TIMEOUT,
        ssh_identity_file=variables.get("ansible_ssh_private_key_file"),
        ssh_extra_args=variables.get("ansible_ssh_common_args"),
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "group(name, ...): run on the hosts of these inventory groups")


def pytest_report_header() -> list[str]:
    fleet = read_fleet()
    hosts = ", ".join(f"{name} ({fleet.variables(name).get('ansible_host', name)})" for name in fleet.names)
    return [f"inventory: {', '.join(constants.DEFAULT_HOST_LIST)}", f"hosts: {hosts}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hostname" not in metafunc.fixturenames:
        return
    fleet = read_fleet()
    marker = metafunc.definition.get_closest_marker("group")
    groups = marker.args if marker else ("all",)
    wanted = [name for name in fleet.names if any(name in fleet.groups.get(group, ()) for group in groups)]
    if not wanted:
        sources = ", ".join(constants.DEFAULT_HOST_LIST)
        raise pytest.UsageError(f"no host of the group {' or '.join(groups)} in {sources}")
    metafunc.parametrize("hostname", wanted, scope="session")


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """All hosts and groups of the inventory."""
    return read_fleet()


@pytest.fixture(scope="session")
def host(hostname: str) -> Host:
    """The host that the test looks at, as root."""
    return _connect(hostname)


@pytest.fixture(scope="session")
def variables(hostname: str) -> Variables:
    """What the inventory says about the host that the test looks at."""
    return read_fleet().variables(hostname)
