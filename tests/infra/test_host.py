"""What holds on every host of a fleet."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

OURS = ("redis", "prometheus", "celery", "python")


def test_no_unit_has_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_nothing_of_ours_listens_on_a_public_address(host: Host) -> None:
    lines = host.check_output("ss --no-header --listening --tcp --numeric --processes").splitlines()
    ours = [line.split() for line in lines if any(f'"{name}' in line for name in OURS)]
    for fields in ours:
        address = fields[3].rsplit(":", 1)[0].strip("[]").split("%")[0]
        assert address not in ("*", "0.0.0.0", "::"), fields
        assert ipaddress.ip_address(address).is_private, fields


def test_the_journal_is_bounded(host: Host) -> None:
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    effective = {}
    for line in settings.splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            effective[key] = value
    assert effective["SystemMaxUse"]
    assert effective["SystemMaxFileSize"]
    assert effective["MaxRetentionSec"]
