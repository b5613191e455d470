"""What the controller's plugins share: the fleet as the inventory gives it, and where each value was written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError

# The topology floor is pure Python without dependencies: the roles use the very code that the workers use.
_SOURCE = Path(__file__).resolve().parents[3] / "src"
if str(_SOURCE) not in sys.path:
    sys.path.insert(0, str(_SOURCE))

from celery_fleet.topology import DEFAULTS, InvalidTopology, with_host_queues  # noqa: E402
from listening import found_at, is_loopback  # noqa: E402

GROUPS = ("redis", "workers", "beat", "monitoring", "console", "flower", "edge", "logs", "tracing")
PREFIXES = ("celery_", "redis_")
OWN_FACTS = ("celery_plan",)
# What a fleet runs whose inventory names no app of its own.
REFERENCE_APP = {"celery_app": "taskapp.app:app", "celery_app_source": str(_SOURCE / "taskapp")}


class Inventory:
    """The fleet of a run, through the eyes of an action plugin.

    Attributes:
        groups: the fleet's groups and their hosts; groups that the inventory does not have are empty.
        hosts: every host of the fleet once, in the inventory's order.
    """

    def __init__(self, templar: Any, task_vars: Mapping[str, Any]) -> None:
        self._templar = templar
        self._hostvars = task_vars["hostvars"]
        self.groups = {name: [str(host) for host in task_vars["groups"].get(name, [])] for name in GROUPS}
        self.hosts = list(dict.fromkeys(host for hosts in self.groups.values() for host in hosts))

    def _values(self, host: str, names: Iterable[str] | None = None) -> dict[str, Any]:
        """A host's variables, templated; by default those that belong to the fleet.

        Raises AnsibleError naming the variable that cannot be templated.
        """
        raw = self._hostvars.raw_get(host)
        if names is None:
            names = [name for name in raw if name.startswith(PREFIXES) and name not in OWN_FACTS]
        templar = self._templar.copy_with_new_env(available_variables={**raw, "hostvars": self._hostvars})
        values = {}
        for name in names:
            try:
                if name in raw:
                    values[str(name)] = plain(templar.template(raw[name]))
            except AnsibleError as error:
                raise AnsibleError(f"{host}: {name}: {error}") from error
        return values

    def variables(self, host: str) -> dict[str, Any]:
        """A host's own `celery_*` and `redis_*` variables, templated."""
        own = self._values(host)
        return own if own.get("celery_app") else {**REFERENCE_APP, **own}

    def expanded(self, host: str) -> dict[str, Any]:
        """A host's own variables, and the queues and the pool that `celery_host_queue` of the hosts stands for.

        Raises InvalidTopology when a queue cannot be made.
        """
        hosts = {name: self._values(name, ["celery_host_queue"]) for name in self.hosts}
        own = with_host_queues({**hosts, host: self.variables(host)}, self.groups["workers"])
        if own.problems:
            raise InvalidTopology(own.problems, "the inventory")
        return dict(own.variables[host])

    def workers(self) -> list[dict[str, Any]]:
        """The worker of every pool of every host: {worker, pool, hostname, queues}. Raises InvalidTopology."""
        return [
            {"worker": f"{pool}@{host}", "pool": pool, "hostname": host, "queues": list(settings["queues"])}
            for host in self.groups["workers"]
            for pool, settings in self.expanded(host)
            .get("celery_worker_pools", DEFAULTS["celery_worker_pools"])
            .items()
        ]

    def value(self, host: str, name: str, default: Any = None) -> Any:
        """One variable of a host, templated."""
        return self._values(host, [name]).get(name, default)

    def addresses(self) -> dict[str, str]:
        """Where the hosts reach each other. A fleet of one host talks over loopback unless `base_address` says otherwise."""
        alone = "127.0.0.1" if len(self.hosts) == 1 else None
        addresses = {}
        for host in self.hosts:
            seen = self._values(host, ["base_address", "ansible_host"])
            addresses[host] = str(seen.get("base_address") or alone or seen.get("ansible_host") or host)
        return addresses

    def trace_backend(self, addresses: Mapping[str, str], tls: bool) -> str | None:
        """Where the fleet's own backend takes traces, if it runs one; with `tls` by HTTPS, but on loopback."""
        if not self.groups["tracing"]:
            return None
        host = self.groups["tracing"][0]
        address = str(self.value(host, "tracing_address", addresses[host]))
        scheme = "https" if tls and not is_loopback(address) else "http"
        return f"{scheme}://{found_at(address, addresses[host])}:{self.value(host, 'tracing_port', 4318)}"

    def written_at(self, host: str, where: Iterable[Any]) -> str:
        """`file:line` of the value at a path of keys, or of the nearest thing around it; empty when it has no file."""
        value: Any = self._hostvars.raw_get(host)
        best = ""
        for key in where:
            try:
                if isinstance(value, Mapping):
                    best = _origin(next((own for own in value if own == key), key)) or best
                value = value[key]
            except (KeyError, IndexError, TypeError):
                break
            best = _origin(value) or best
        return best


def plain(value: Any) -> Any:
    """A value without Ansible's own types, as JSON would carry it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _origin(value: Any) -> str:
    origin = Origin.get_tag(value)
    if origin is None or not origin.path:
        return ""
    path = os.path.relpath(origin.path)
    shown = origin.path if path.startswith("..") else path
    return f"{shown}:{origin.line_num}" if origin.line_num else str(shown)
