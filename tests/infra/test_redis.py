"""Redis as it really runs: what it listens on, what it keeps, and who may do what."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from infra.http import addresses_of

pytestmark = pytest.mark.group("redis")

SOCKET = "/run/redis/redis-server.sock"
FLEET_USERS = {"admin", "worker", "client", "beat", "exporter"}


def ask(host: Host, *words: str) -> str:
    """The answer to one command of the ACL user admin, whose password only root of the host can read."""
    command = f"redis-cli -s {SOCKET} --user admin {shlex.join(words)}"
    answer: str = host.check_output("REDISCLI_AUTH=$(cat /etc/redis/admin.password) " + command)
    return answer


def option(host: Host, name: str) -> str:
    return ask(host, "CONFIG", "GET", name).split("\n", 1)[1]


def test_service(host: Host) -> None:
    service = host.service("redis-server")
    assert service.is_running
    assert service.is_enabled


def test_listens_on_private_addresses_only(host: Host, variables: Mapping[str, Any]) -> None:
    ports = [variables.get("redis_port", 6379), variables.get("redis_tls_port", 6380)]
    closed, opened = ports if variables.get("celery_tls") else ports[::-1]
    assert "127.0.0.1" in addresses_of(host, opened)
    assert not addresses_of(host, opened) & {"0.0.0.0", "*", "[::]"}
    assert not addresses_of(host, closed)


def test_no_task_is_evicted_or_forgotten(host: Host, variables: Mapping[str, Any]) -> None:
    assert option(host, "maxmemory-policy") == "noeviction"
    assert option(host, "appendonly") == "yes"
    assert option(host, "appendfsync") == variables.get("redis_appendfsync", "everysec")
    state = dict(line.split(":", 1) for line in ask(host, "INFO", "persistence").split("\n") if ":" in line)
    assert state["aof_last_write_status"].strip() == "ok"
    assert state["aof_last_bgrewrite_status"].strip() == "ok"


def test_it_runs_what_its_file_says(host: Host) -> None:
    wanted = dict(
        line.split(" ", 1) for line in host.file("/etc/redis/redis.conf").content_string.splitlines()[1:]
    )
    for name in ("maxmemory", "maxclients", "databases", "port", "tcp-keepalive"):
        assert option(host, name) == wanted[name], name


def test_its_limit_leaves_room_for_rewriting_its_file(host: Host) -> None:
    data = int(option(host, "maxmemory"))
    limit = int(host.check_output("systemctl show --property=MemoryMax --value redis.slice"))
    total = host.check_output("awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo")
    assert 0 < data < limit < float(total)


def test_nobody_gets_in_without_a_password(host: Host) -> None:
    for login in ("", "--user default --pass x", "--user worker --pass x"):
        answer = host.run(f"redis-cli -s {SOCKET} --no-auth-warning {login} GET x")
        assert "NOAUTH" in answer.stdout + answer.stderr, login


def test_users(host: Host) -> None:
    assert set(ask(host, "ACL", "USERS").split("\n")) >= FLEET_USERS
    lines = {line.split()[1]: line for line in ask(host, "ACL", "LIST").split("\n")}
    assert " off " in lines["default"]
    assert all(" nopass" not in line for line in lines.values())
    assert [name for name in FLEET_USERS if "+@all" in lines[name]] == ["admin"]


def test_nothing_is_refused_to_the_fleet(host: Host) -> None:
    words = ask(host, "ACL", "LOG").split("\n")
    refused = [
        tuple(words[at + 1] for at in range(start, start + 10, 2))
        for start, word in enumerate(words)
        if word == "count" and words[start + 2] == "reason"
    ]
    assert [entry for entry in refused if entry[1] != "auth" and entry[4] in FLEET_USERS] == []


@pytest.mark.parametrize(
    ("path", "user", "mode"),
    [
        ("/etc/redis/redis.conf", "redis", 0o640),
        ("/etc/redis/users.acl", "redis", 0o640),
        ("/etc/redis/admin.password", "root", 0o600),
    ],
)
def test_files(host: Host, path: str, user: str, mode: int) -> None:
    file = host.file(path)
    assert (file.user, file.mode) == (user, mode)


def test_no_password_is_in_sight(host: Host) -> None:
    """Neither on a command line nor in a unit, a readable file of the configuration, or the journal."""
    secret = "/etc/redis/admin.password"
    for place in (
        "/proc/[0-9]*/cmdline",
        "/etc/systemd/system",
        "/etc/redis/users.acl",
        "/etc/redis/redis.conf",
    ):
        assert host.run(f"grep -rqsFf {secret} {place}").rc == 1, place
    assert host.run(f"journalctl --boot --no-pager | grep -qFf {secret}").rc == 1
