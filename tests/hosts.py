"""The hosts of an inventory, whichever it is, as tests see them: variables, groups, and a way in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import testinfra
from ansible import constants
from ansible.cli import CLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from testinfra.host import Host

from celery_fleet.topology import DEFAULTS, with_host_queues
from celery_fleet.topology.fields import plain
from engine import load_plugins

TIMEOUT = 10
"""Seconds until an unreachable host is reported."""

_TEMPLATING = Lock()
"""Ansible loads its filters when they are first used, and not for several threads at once."""


class Variables(Mapping[str, Any]):
    """Inventory variables of one host; templates are filled in one by one, as Ansible does."""

    def __init__(self, templar: Templar) -> None:
        self._templar = templar
        self._raw = templar.available_variables

    def __getitem__(self, name: str) -> Any:
        with _TEMPLATING:
            return self._templar.template(self._raw[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@dataclass(frozen=True)
class Fleet:
    """The inventory: its hosts, the hosts of each group, and the variables of each host."""

    sources: list[str]
    names: list[str]
    groups: Mapping[str, list[str]]
    templars: Mapping[str, Templar]

    def variables(self, name: str) -> Variables:
        """What the inventory says about the host `name`."""
        return Variables(self.templars[name])

    def pools(self, name: str) -> dict[str, dict[str, Any]]:
        """The pools of the host `name`: those that it names, and that of its own queue."""
        wanted = ("celery_worker_pools", "celery_host_queue")
        given = {
            host: plain({key: self.variables(host)[key] for key in wanted if key in self.variables(host)})
            for host in self.groups["workers"]
        }
        pools: dict[str, dict[str, Any]] = (
            with_host_queues(given, list(given))
            .variables[name]
            .get("celery_worker_pools", DEFAULTS["celery_worker_pools"])
        )
        return pools

    def host(self, name: str) -> Host:
        """Testinfra's view of the host `name`, as root."""
        return connect(name)


@cache
def read_fleet() -> Fleet:
    """The inventory that ANSIBLE_INVENTORY or ansible.cfg names."""
    load_plugins()
    loader = DataLoader()
    loader.set_vault_secrets(
        CLI.setup_vault_secrets(loader, constants.DEFAULT_VAULT_IDENTITY_LIST, auto_prompt=False)
    )
    sources = [str(source) for source in constants.DEFAULT_HOST_LIST]
    inventory = InventoryManager(loader=loader, sources=sources)
    manager = VariableManager(loader=loader, inventory=inventory)
    hosts = inventory.get_hosts()
    return Fleet(
        sources=sources,
        names=[str(host.name) for host in hosts],
        groups={
            str(name): [str(host.name) for host in group.get_hosts()]
            for name, group in inventory.groups.items()
        },
        templars={str(host.name): Templar(loader, variables=manager.get_vars(host=host)) for host in hosts},
    )


@cache
def connect(name: str) -> Host:
    """Testinfra's view of the host `name`, as root, over one connection that stays open."""
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
        controlpath=f"{_sockets()}/{name}",
        ssh_identity_file=variables.get("ansible_ssh_private_key_file"),
        ssh_extra_args=variables.get("ansible_ssh_common_args"),
    )


@cache
def _sockets() -> str:
    return tempfile.mkdtemp(prefix="fleet-ssh-")


def header(fleet: Fleet) -> list[str]:
    """What a test run says it looks at."""
    hosts = ", ".join(f"{name} ({fleet.variables(name).get('ansible_host', name)})" for name in fleet.names)
    return [f"inventory: {', '.join(fleet.sources)}", f"hosts: {hosts}"]
