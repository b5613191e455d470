"""`make audit`: the fleet's own checks, and the table."""

from __future__ import annotations

import base64
import io
import tarfile

import pytest

from audit import checks
from audit.findings import AuditError, Finding, checked, merged, table, wrong
from unit.audit import samples


def archive(**files: str) -> str:
    """As a host sends it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(f"etc/{name}")
            member.size = len(text.encode())
            packed.addfile(member, io.BytesIO(text.encode()))
    return base64.b64encode(buffer.getvalue()).decode()


def test_sockets_on_loopback_are_nobody_s_business() -> None:
    assert checks.sockets(samples.SOCKETS) == [
        ("tcp", "*", 443),
        ("tcp", "0.0.0.0", 22),
        ("tcp", "10.214.5.11", 6380),
        ("udp", "10.214.5.11", 68),
    ]


def test_rules_know_all_sockets() -> None:
    assert checks.unknown_sockets(samples.SOCKETS, samples.FIREWALL) == []


@pytest.mark.parametrize("line", ["tcp LISTEN 0 5 [::]:8080 [::]:*", "udp UNCONN 0 0 0.0.0.0:443 0.0.0.0:*"])
def test_a_socket_without_a_rule(line: str) -> None:
    (problem,) = checks.unknown_sockets(f"{samples.SOCKETS}{line}\n", samples.FIREWALL)
    assert "no rule of the firewall" in problem


def test_rules_that_drop_name_nobody() -> None:
    rules = samples.FIREWALL.replace('"accept": null', '"drop": null')
    assert len(checks.unknown_sockets(samples.SOCKETS, rules)) == 4


def test_no_firewall_at_all() -> None:
    (problem,) = checks.unknown_sockets(samples.SOCKETS, "")
    assert problem.startswith("there is no firewall")


def test_users_of_redis() -> None:
    assert checks.weak_users(samples.REDIS_USERS) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("default off", "default on", "the user default is on"),
        ("#fb2c", "nopass", "the user worker gets in without a password"),
        ("user default off sanitize-payload ~* &* +@all\n", "", "the user default is on"),
    ],
)
def test_weak_users_of_redis(before: str, after: str, problem: str) -> None:
    assert before in samples.REDIS_USERS
    (found,) = checks.weak_users(samples.REDIS_USERS.replace(before, after))
    assert found.startswith(problem)


def test_no_answer_of_redis_is_no_success() -> None:
    with pytest.raises(AuditError, match="NOPERM"):
        checks.weak_users("(error) NOPERM this user has no permissions\n")


def test_secrets_that_everybody_may_read() -> None:
    sent = archive(good="nothing", bad="password=correct-horse-battery\n")
    found = checks.readable_secrets(sent, {"redis-worker": "correct-horse-battery"})
    assert found == ["everybody may read redis-worker in /etc/bad"]


def test_without_secrets_nothing_is_proven() -> None:
    with pytest.raises(AuditError, match="fleet_secrets_dir"):
        checks.readable_secrets(archive(good=""), {})


def test_without_files_nothing_is_proven() -> None:
    with pytest.raises(AuditError, match="no file"):
        checks.readable_secrets(archive(), {"redis-worker": "correct-horse-battery"})


def test_files_that_everybody_may_write() -> None:
    found = checks.writable("/run/dbus/system_bus_socket\n/run/systemd/notify\n/var/lib/celery/x\n")
    assert [problem.split(":")[0] for problem in found] == ["everybody may write /var/lib/celery/x"]


def test_services_of_root() -> None:
    assert checks.root_services(samples.PROCESSES) == []
    more = samples.PROCESSES.replace("  998 celery ", "    0 celery ").replace(
        "   33 nginx", "    0 nginx", 1
    )
    assert checks.root_services(more) == [
        "celery-worker@default.service has 1 processes of root, and needs 0",
        "nginx.service has 2 processes of root, and needs 1",
    ]


ROWS = [
    Finding("one", "celery-beat", "9.2", "1.5", "ok"),
    checked("one", "services of root", ["x has 1"]),
    checked("two", "services of root", ["x has 1"]),
    checked("one", "users", []),
]


def test_the_table() -> None:
    lines = table(ROWS).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["one", "celery-beat", "9.2", "1.5", "ok"],
        ["one", "two", "services", "of", "root", "-", "1", "FAILED"],
        ["one", "users", "-", "none", "ok"],
    ]
    assert {line.index("verdict") for line in lines[:1]} == {line.index("ok") for line in lines[2::2]}


def test_same_things_of_several_hosts_are_one_row() -> None:
    assert [each.host for each in merged(ROWS)] == ["one", "one two", "one"]


def test_what_makes_it_fail() -> None:
    assert wrong(ROWS) == ["one: services of root: x has 1", "two: services of root: x has 1"]
    assert wrong([Finding("one", "Lynis", "59/100", "50/100", "note")]) == []
