"""Refuse a bad inventory before any host is touched. Looks at variables alone; no connection is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))
from fleet_inventory import Inventory  # also puts src/ on the path
from celery_fleet.topology import Problem, validate_fleet

SOURCE = "set celery_app_source to its directory, its wheel, its sdist or its git repository"


class ActionModule(ActionBase):
    """Takes no arguments: the whole inventory is what it looks at. Run it once, for all hosts."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        inventory = Inventory(self._templar, task_vars or {})
        try:
            addresses = inventory.addresses()
            hosts = {h: {"address": addresses[h], "vars": inventory.variables(h)} for h in inventory.hosts}
        except AnsibleError as error:
            return {
                **result,
                "failed": True,
                "msg": f"The inventory cannot be read; no host was touched.\n{error}",
            }
        problems = validate_fleet({"groups": inventory.groups, "hosts": hosts})
        problems += [
            Problem(("celery_app",), "celery_app_source is not set, where this app would come from", SOURCE)
            for host in list(hosts.values())[:1]
            if not host["vars"].get("celery_app_source")
        ]
        if problems:
            lines = list(dict.fromkeys(self._line(inventory, problem) for problem in problems))
            count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
            message = f"The inventory has {count}; no host was touched.\n" + "\n".join(lines)
            return {**result, "failed": True, "msg": message}
        return {**result, "changed": False, "msg": f"nothing wrong with the variables of {', '.join(hosts)}"}

    def _line(self, inventory: Inventory, problem: Problem) -> str:
        host = problem.host or next(iter(inventory.hosts), None)
        place = inventory.written_at(host, problem.where) if host else ""
        return f"- {place + ': ' if place else ''}{problem}"
