"""Filters of the role monitoring: settings of alerts, targets of queues, and who is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))
import monitoring_settings as settings


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Its problems as Ansible tells them."""

    @wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except settings.Refused as error:
            raise AnsibleFilterError(str(error)) from None

    return wrapped


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {
            "monitoring_alert_settings": _told(settings.alert_settings),
            "monitoring_queue_targets": _told(settings.queue_targets),
            "monitoring_alertmanager_settings": _told(settings.alertmanager_settings),
        }
