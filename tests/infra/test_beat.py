"""One Beat in the fleet, on the host of its group, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

    from hosts import Fleet


def test_runs_on_its_host_alone(host: Host, hostname: str, fleet: Fleet) -> None:
    unit = host.service("celery-beat")
    if hostname in fleet.groups.get("beat", []):
        assert unit.is_running
        assert unit.is_enabled
    else:
        assert not host.file("/etc/systemd/system/celery-beat.service").exists
        assert not unit.is_running
