"""What every other test rests on: hosts that boot, know each other, and enforce the limits they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

    from hosts import Fleet, Variables

MEGABYTES = {"M": 1, "G": 1024}
KILLED = "9"


def exit_status(host: Host, megabytes: int, *properties: str) -> str:
    """How a transient service of these unit properties ends filling so much memory: exit code or signal."""
    unit = "celery-fleet-memory-test"
    limits = " ".join(f"--property={name}" for name in (*properties, "MemorySwapMax=0"))
    run = f"systemd-run --quiet --wait --unit={unit} {limits} python3 -c 'bytearray({megabytes} << 20)'"
    # A successful transient unit is gone afterwards, a failed one stays until it is reset.
    status = f"systemctl show --property=ExecMainStatus --value {unit}; systemctl reset-failed {unit}"
    return str(host.check_output(f"{run} && echo 0 || {{ {status}; }}")).strip()


def test_has_booted(host: Host) -> None:
    state = host.run("systemctl is-system-running --wait").stdout.strip()
    assert state == "running", host.check_output("systemctl list-units --failed --no-pager")


def test_knows_the_other_hosts_by_name(host: Host, variables: Variables, fleet: Fleet) -> None:
    if "testbed_name" not in variables:
        pytest.skip("real hosts have the names that their owner's DNS gives them")
    for name in fleet.names:
        assert host.addr(name).ipv4_addresses == [fleet.variables(name)["ansible_host"]]


def test_service_above_its_memory_limit_is_killed(host: Host) -> None:
    assert exit_status(host, 100, "MemoryMax=64M") == KILLED


def test_service_below_its_memory_limit_lives(host: Host) -> None:
    assert exit_status(host, 100, "MemoryMax=256M") == "0"


def test_host_has_the_memory_that_the_inventory_says(host: Host, variables: Variables) -> None:
    if "testbed_memory" not in variables:
        pytest.skip("a real host has the memory that is built in")
    size = variables["testbed_memory"]
    megabytes = int(size[:-1]) * MEGABYTES[size[-1]]
    assert exit_status(host, megabytes + 64) == KILLED
    assert exit_status(host, 256) == "0"
