"""What systemd says of the sandboxes: every service of the fleet is exposed to less than a service of the system is."""

from __future__ import annotations

import re

from testinfra.host import Host

LIMIT = 2.0
LIMITS = {
    # The process that holds the ports is root; those that talk to clients are not.
    "nginx.service": 3.0,
    # It sees all file systems, devices and processes, and writes none.
    "prometheus-node-exporter.service": 2.4,
}
"""systemd's figure, from 0 (it can do nothing) to 10, unless it is LIMIT."""

SERVICES = re.compile(r"(celery-|prometheus|redis-server|nginx|systemd-journal-upload)\S*\.service$")


def test_every_service_is_in_a_sandbox(host: Host) -> None:
    rows = [line.split() for line in host.check_output("systemd-analyze security --no-pager").splitlines()]
    found = {row[0]: float(row[1]) for row in rows if len(row) > 1 and SERVICES.match(row[0])}
    assert found, "each host has at least its exporters"
    assert {name: figure for name, figure in found.items() if figure > LIMITS.get(name, LIMIT)} == {}
