"""What a process in the place of a service may do on a deployed host: its work, and nothing that breaks out of it."""

from __future__ import annotations

import fnmatch

import pytest
from testinfra.host import Host

from hosts import Fleet, read_fleet
from security.confinement import Answer, Attempt, as_user, in_place_of

NEVER: list[Attempt] = [
    ("root", ""),
    ("setuid file", ""),
    ("namespace", ""),
    ("mount", "/mnt"),
    ("module", ""),
    ("clock", ""),
    ("hostname", ""),
    ("socket", "AF_PACKET"),
    ("socket", "AF_VSOCK"),
    ("write", "/etc"),
    ("write", "/run/lock"),
    ("write", "/var/lib"),
    ("read", "/proc/1/environ"),
    ("read", "/etc/shadow"),
    ("read", "/root"),
]
"""By none of the services."""

# Not by these: they need it for what they are there for.
NEEDED: dict[Attempt, tuple[str, ...]] = {
    ("processes", ""): ("prometheus-process-exporter", "prometheus-node-exporter"),
    ("socket", "AF_NETLINK"): (
        "prometheus",
        "prometheus-alertmanager",
        "prometheus-node-*",
        "prometheus-blackbox-*",
    ),
    ("ping", ""): ("prometheus-blackbox-exporter",),
    ("code", ""): ("celery-worker@*",),
}

SECRETS = {
    "/etc/celery-fleet": ("celery-worker@*", "celery-beat"),
    "/etc/celery-beat": ("celery-beat",),
    "/etc/celery-console": ("celery-console",),
    "/etc/celery-exporter": ("celery-exporter",),
    "/etc/celery-flower": ("celery-flower",),
    "/etc/redis/users.acl": (),
    "/etc/redis/admin.password": (),
    "/etc/prometheus/web.yml": ("prometheus", "prometheus-alertmanager"),
    "/etc/prometheus/prometheus.password": ("prometheus", "prometheus-alertmanager"),
    "/etc/prometheus/alertmanager.yml": ("prometheus", "prometheus-alertmanager"),
    "/etc/prometheus/alertmanager.d": ("prometheus-alertmanager",),
}
"""Where passwords and keys are, and whose."""

UNITS = ("celery-*.service", "prometheus*.service")


def services(host: Host) -> list[str]:
    """What runs on a host under a unit of ours."""
    shown = host.check_output(
        f"systemctl list-units --type=service --state=running --plain --no-legend {' '.join(map(repr, UNITS))}"
    )
    names = [line.split()[0].removesuffix(".service") for line in shown.splitlines()]
    return sorted(names)


def denied(answers: dict[Attempt, Answer]) -> dict[Attempt, str]:
    """What was refused, and in which words."""
    return {attempt: answer.text for attempt, answer in answers.items() if not answer.allowed}


def belongs(unit: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(unit, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", read_fleet().names)
def test_no_service_can_do_what_it_has_no_need_to(fleet: Fleet, name: str) -> None:
    host = fleet.host(name)
    found = services(host)
    assert found, "a host without services proves nothing"
    wrong = []
    for unit in found:
        attempts = [
            *NEVER,
            *(attempt for attempt, users in NEEDED.items() if not belongs(unit, users)),
            *(("read", path) for path, users in SECRETS.items() if not belongs(unit, users)),
        ]
        for attempt, answer in in_place_of(host, unit, attempts).items():
            if answer.allowed:
                wrong.append((unit, *attempt, answer.text))
    assert not wrong


def test_what_is_refused_is_the_sandbox_s_doing(fleet: Fleet) -> None:
    """The user of the pools, outside of the sandbox, may do many of these things: else it would prove nothing."""
    attempts: list[Attempt] = [
        ("processes", ""),
        ("setuid file", ""),
        ("namespace", ""),
        ("write", "/run/lock"),
        ("socket", "AF_NETLINK"),
        ("read", "/etc/celery-fleet/redis-worker.password"),
    ]
    answers = as_user(fleet.host("worker2"), "celery", attempts)
    assert denied(answers) == {}


def test_a_pool_does_its_work(fleet: Fleet) -> None:
    attempts: list[Attempt] = [
        ("write", "/var/lib/celery"),
        ("write", "/tmp"),
        ("read", "/etc/celery-fleet/redis-worker.password"),
        ("read", "/proc/meminfo"),
        ("socket", "AF_INET"),
        ("socket", "AF_INET6"),
        ("socket", "AF_UNIX"),
        ("program", "/usr/bin/env true"),
    ]
    answers = in_place_of(fleet.host("worker1"), "celery-worker@default", attempts)
    assert denied(answers) == {}
