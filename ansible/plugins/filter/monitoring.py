"""The filters of the role `monitoring`: what the inventory says of alerts, targets and receivers, checked and filled in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))
from fleet_inventory import plain
from monitoring_settings import Refused, alert_settings, alertmanager_settings, queue_targets


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """With plain values, and with its refusals as Ansible's."""

    @wraps(function)
    def run(*arguments: Any) -> Any:
        try:
            return function(*map(plain, arguments))
        except Refused as error:
            raise AnsibleFilterError(str(error)) from None

    return run


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "alert_settings": told(alert_settings),
            "queue_targets": told(queue_targets),
            "alertmanager_settings": told(alertmanager_settings),
        }
