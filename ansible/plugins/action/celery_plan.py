"""Turn the inventory and a host's facts into concrete numbers, or refuse when they do not fit. No connection is made."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))
from fleet_inventory import Inventory  # also puts src/ on the path
from celery_fleet.topology import (
    DEFAULTS,
    DoesNotFit,
    InvalidTopology,
    parse_duration,
    plan_host,
    topology_document,
    traces,
)

MEBIBYTE = 1024 * 1024
SUPPORTED = {"12": "bookworm", "13": "trixie"}


class ActionModule(ActionBase):
    """Sets the fact `celery_plan` of a host. Needs the facts distribution, processor count, memory and Python version."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host, facts = str(task_vars["inventory_hostname"]), task_vars["ansible_facts"]
        system = f"{facts['distribution']} {facts['distribution_major_version']}"
        if facts["distribution"] != "Debian" or facts["distribution_major_version"] not in SUPPORTED:
            message = f"{host} runs {system}; celery-fleet supports Debian 12 and 13. Nothing was changed."
            return {**result, "failed": True, "msg": message}

        inventory = Inventory(self._templar, task_vars)
        groups, addresses = inventory.groups, inventory.addresses()
        own = [name for name, members in groups.items() if host in members]
        try:
            variables = inventory.expanded(host)
            plan = plan_host(
                variables,
                name=host,
                groups=own,
                cpus=int(facts["processor_vcpus"]),
                memory=int(facts["memtotal_mb"]) * MEBIBYTE,
            )
            document = topology_document(variables)
        except (DoesNotFit, InvalidTopology) as error:
            return {**result, "failed": True, "msg": f"Nothing was changed.\n{error}"}
        redis = groups["redis"][0]
        ports = [
            int(inventory.value(redis, name, port))
            for name, port in (("redis_port", 6379), ("redis_tls_port", 6380))
        ]
        if ports[0] == ports[1]:
            message = f"redis_port and redis_tls_port of {redis} are both {ports[0]}: give two. Nothing was changed."
            return {**result, "failed": True, "msg": message}
        tls = bool(variables.get("celery_tls", DEFAULTS["celery_tls"]))
        own_backend = inventory.trace_backend(addresses, tls)
        sent_to = traces(variables, own_backend)
        source = variables["celery_app_source"]
        fact = {
            **plan.as_dict(),
            "address": addresses[host],
            "addresses": addresses,
            "app": {
                "name": variables["celery_app"],
                "source": source,
                "requirements": variables.get("celery_app_requirements"),
            },
            "deploy": {
                "before": variables.get("celery_pre_deploy") or [],
                "after": variables.get("celery_post_deploy") or [],
                "health_task": variables.get("celery_health_task"),
                "health_timeout": parse_duration(
                    variables.get("celery_health_timeout", DEFAULTS["celery_health_timeout"])
                ),
            },
            "groups": own,
            "hosts": groups,
            "redis": {
                "host": redis,
                "address": addresses[redis],
                "port": ports[tls],
                "tls": tls,
            },
            "tls": tls,
            "topology": document,
            # Where traces go, and which part of new ones is kept; false: nowhere
            "tracing": {**asdict(sent_to), "own": sent_to.endpoint == own_backend} if sent_to else False,
            # Who is to be there, for the host that watches it
            "workers": inventory.workers() if host in groups["monitoring"] else [],
        }
        return {**result, "changed": False, "ansible_facts": {"celery_plan": fact}, "msg": plan.table}
