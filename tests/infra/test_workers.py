"""Every pool of the inventory runs as its own service, under its own limits, and consumes its own queues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

pytestmark = pytest.mark.group("workers")


def properties(host: Host, unit: str, *names: str) -> dict[str, str]:
    output = host.check_output("systemctl show %s --property=%s", unit, ",".join(names))
    return dict(line.split("=", 1) for line in output.splitlines())


@pytest.fixture(scope="module")
def pools(host: Host) -> list[str]:
    """The pools that systemd knows on a host; a host of the group has at least one."""
    links = host.check_output("ls /etc/systemd/system/celery-worker.target.wants")
    names = [link.removeprefix("celery-worker@").removesuffix(".service") for link in links.split()]
    assert names
    return names


def environment(host: Host, pool: str) -> dict[str, str]:
    text = host.file(f"/etc/celery-fleet/pools/{pool}.env").content_string
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key: value.strip('"') for key, value in (line.split("=", 1) for line in lines)}


def test_pools_are_those_of_the_inventory(pools: list[str], fleet: Any, hostname: str) -> None:
    assert sorted(pools) == sorted(fleet.pools(hostname))


def test_pools_are_up_and_ready(host: Host, pools: list[str]) -> None:
    for pool in pools:
        shown = properties(
            host, f"celery-worker@{pool}.service", "ActiveState", "SubState", "UnitFileState", "StatusText"
        )
        assert shown["ActiveState"] == "active"
        assert shown["SubState"] == "running"
        assert shown["UnitFileState"] == "enabled"
        assert "busy" in shown["StatusText"], "the worker itself says what it does"


def test_memory_limit_reaches_the_kernel(host: Host, pools: list[str]) -> None:
    for pool in pools:
        shown = properties(
            host, f"celery-worker@{pool}.service", "MemoryMax", "ControlGroup", "Slice", "OOMPolicy"
        )
        # One of the two places is there, by cgroup version; that it says something is asserted below.
        limits = host.check_output(
            "cat /sys/fs/cgroup%s/memory.max /sys/fs/cgroup/memory%s/memory.limit_in_bytes 2>/dev/null || true",
            shown["ControlGroup"],
            shown["ControlGroup"],
        )
        assert limits.split() == [shown["MemoryMax"]]
        assert shown["Slice"] == "celery-worker.slice"
        assert shown["OOMPolicy"] == "continue"


def test_processes_belong_to_the_app_user(host: Host, pools: list[str]) -> None:
    for pool in pools:
        group = properties(host, f"celery-worker@{pool}.service", "ControlGroup")["ControlGroup"]
        pids = host.check_output(
            "cat /sys/fs/cgroup%s/cgroup.procs /sys/fs/cgroup/systemd%s/cgroup.procs 2>/dev/null || true",
            group,
            group,
        ).split()
        assert pids
        assert set(host.check_output("ps --no-headers -o user:32 -p %s", ",".join(pids)).split()) == {
            "celery"
        }


def test_pools_consume_exactly_their_queues(host: Host, pools: list[str]) -> None:
    name = host.check_output("hostname")
    nodes = ",".join(f"{pool}@{name}" for pool in pools)
    answer = json.loads(
        host.check_output("fleet-celery inspect active_queues --json --timeout 3 --destination %s", nodes)
    )
    consumed = {
        node.split("@")[0]: sorted(queue["name"] for queue in queues) for node, queues in answer.items()
    }
    assert consumed == {
        pool: sorted(environment(host, pool)["CELERY_FLEET_QUEUES"].split(",")) for pool in pools
    }


def test_release_is_whole_and_current(host: Host) -> None:
    current = host.check_output("readlink -f /opt/fleet/current")
    assert json.loads(host.file(f"{current}/release.json").content_string)["id"] == current.rsplit("/", 1)[1]
    assert host.check_output("find %s ! -user root | head -1", current) == "", (
        "the app cannot change its own code"
    )


def test_settings_are_not_for_everybody(host: Host) -> None:
    for path in (
        "/etc/celery-fleet",
        "/etc/celery-fleet/redis-worker.password",
        "/var/log/celery",
        "/var/lib/celery",
    ):
        assert host.file(path).mode & 0o007 == 0, path
    secret = "/etc/celery-fleet/redis-worker.password"
    assert len(host.file(secret).content_string.strip()) >= 32
    # Searched for by file, since sudo and the journal keep the command line of every search.
    places = {
        "command lines and environments": "ps -eww -o args; cat /proc/[0-9]*/environ | tr '\\0' '\\n'",
        "units": "systemctl cat 'celery-*' --no-pager; systemctl show 'celery-worker@*' celery-beat.service",
        "journal": "journalctl --no-pager --quiet",
    }
    for place, command in places.items():
        assert (
            host.run(f"{{ {command}; }} 2>/dev/null | grep --quiet --fixed-strings --file={secret}").rc == 1
        ), place


def test_logrotate_takes_the_configuration(host: Host) -> None:
    checked = host.run("logrotate --debug /etc/logrotate.d/celery")
    assert checked.rc == 0
    assert "error" not in checked.stderr.lower()
