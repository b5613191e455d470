"""Who reaches what: a host that is not of the fleet, and a user without rights on one that is, are refused everywhere."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from testinfra.host import Host

from hosts import Fleet, read_fleet
from security.confinement import Answer, Attempt, as_user

PROGRAM = Path(__file__).with_name("attempts.py")
NOBODY = "nobody"
PUBLIC = {22: "ssh", 80: "console", 443: "console", 8000: "console", 5001: "console", 5555: "Flower"}
"""What everybody reaches, who is then asked for a key."""
EXPORTERS = (9100, 9115, 9121, 9256, 9808)
"""They ask nobody for a password: who may not ask them does not get in."""
LOOPBACK = re.compile(r"127\.|\[::1\]")

SECRET_FILES = (
    "/etc/celery-fleet",
    "/etc/celery-beat",
    "/etc/celery-console",
    "/etc/celery-exporter",
    "/etc/celery-flower",
    "/etc/celery-firewall",
    "/etc/redis/users.acl",
    "/etc/redis/admin.password",
    "/etc/default/prometheus-redis-exporter",
    "/etc/prometheus/web.yml",
    "/etc/prometheus/alertmanager.yml",
    "/etc/prometheus/prometheus.password",
    "/var/lib/redis",
    "/var/lib/celery",
    "/var/lib/celery-beat",
    "/var/log/celery",
    "/var/log/celery-beat",
    "/var/log/celery-console",
    "/run/redis/redis-server.sock",
)
WRITTEN_DIRECTORIES = (
    "/opt/fleet",
    "/opt/fleet/current",
    "/etc/systemd/system",
    "/etc/prometheus",
    "/var/lib/prometheus",
    "/var/lib/celery",
    "/var/lib/celery-fleet/prometheus/rules",
    "/usr/local/bin",
)
COMMANDS = (
    "systemctl restart celery-worker.target",
    "systemctl stop redis-server prometheus celery-console",
    "sudo -n true",
    "fleet status",
    "fleet-celery inspect ping",
    "fleet-run true",
    "nft list ruleset",
    "redis-cli -s /run/redis/redis-server.sock ping",
    "pkill -u celery",
)


def listening(host: Host) -> dict[int, set[str]]:
    """Ports, and the addresses that each of them is listened on."""
    found: dict[int, set[str]] = {}
    for line in host.check_output("ss -H -ltn").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address)
    return found


def refused(answers: dict[Attempt, Answer]) -> list[tuple[str, str, str]]:
    """What was allowed, and should not have been."""
    return [(*attempt, answer.text) for attempt, answer in answers.items() if answer.allowed]


@pytest.mark.parametrize("name", read_fleet().names)
class TestUnprivilegedUser:
    """Somebody who has a shell on a host of the fleet."""

    def test_reads_and_writes_nothing_of_it(self, fleet: Fleet, name: str) -> None:
        host = fleet.host(name)
        attempts = [
            *(("read", path) for path in SECRET_FILES if host.file(path).exists),
            *(("write", path) for path in WRITTEN_DIRECTORIES if host.file(path).exists),
        ]
        assert len(attempts) > 5
        assert refused(as_user(host, NOBODY, attempts)) == []

    def test_runs_none_of_its_commands(self, fleet: Fleet, name: str) -> None:
        attempts: list[Attempt] = [("program", command) for command in COMMANDS]
        assert refused(as_user(fleet.host(name), NOBODY, attempts)) == []

    def test_sees_no_line_of_its_journal(self, fleet: Fleet, name: str) -> None:
        host = fleet.host(name)
        assert host.check_output("journalctl --quiet --no-pager --lines=1")
        assert host.run(f"runuser -u {NOBODY} -- journalctl --quiet --no-pager --lines=1").stdout == ""

    def test_is_asked_for_a_password_by_what_listens(self, fleet: Fleet, name: str) -> None:
        host = fleet.host(name)
        attempts: list[Attempt] = []
        for port, addresses in listening(host).items():
            address = (
                next(iter(addresses)).strip("[]").replace("0.0.0.0", "127.0.0.1").replace("*", "127.0.0.1")
            )
            attempts += asked(f"{address}:{port}", secured(fleet))
        assert refused(as_user(host, NOBODY, attempts)) == []


def secured(fleet: Fleet) -> bool:
    """Whether what is reached from other hosts speaks TLS."""
    return bool(fleet.variables(fleet.names[0]).get("celery_tls"))


def asked(place: str, tls: bool) -> list[Attempt]:
    """What to try at `address:port`, by the service that listens there."""
    port = int(place.rpartition(":")[2])
    http = "https" if tls and port != 80 and not LOOPBACK.match(place) else "http"
    if port in (6379, 6380):
        return [
            ("redis", f"{place} {command}")
            for command in ("PING", "KEYS *", "INFO", "ACL LIST", "LPUSH celery x")
        ]
    if port in (80, 443, 8000, 8001, 5001):
        paths = ("/ui", "/api/v1/tasks", "/api/v1/workers", "/dlq/failed-tasks", "/api/v1/audit")
        return [
            *(("http", f"GET {http}://{place}{path}") for path in paths),
            ("http", f"POST {http}://{place}/tasks"),
        ]
    if port in (5555, 5556):
        return [("http", f"GET {http}://{place}{path}") for path in ("/", "/api/workers", "/api/tasks")]
    if port in EXPORTERS:
        return [("connect", place), ("http", f"GET {http}://{place}/metrics")]
    if port == 9090:
        return [
            ("http", f"GET {http}://{place}{path}")
            for path in ("/", "/metrics", "/api/v1/targets", "/api/v1/query")
        ]
    if port == 9093:
        return [
            ("http", f"GET {http}://{place}{path}")
            for path in ("/", "/metrics", "/api/v2/alerts", "/api/v2/silences")
        ]
    return []


@pytest.fixture(scope="module")
def stranger(fleet: Fleet) -> Iterator[str]:
    """A machine in the network of the fleet that its inventory does not name: the name of its container."""
    name = str(fleet.variables(fleet.names[0])["testbed_name"])
    image = str(fleet.variables(fleet.names[0])["testbed_image"])
    container = f"{name}-stranger"
    _podman("rm", "--force", "--ignore", container)
    limits = ("--ulimit=nofile=20000:20000", "--ulimit=nproc=32768:32768")
    place = (
        "--network",
        f"celery-fleet-{name}",
        "--privileged",
        *limits,
        f"--volume={PROGRAM}:/attempts.py:ro",
    )
    _podman("run", "--detach", "--name", container, *place, "--entrypoint=sleep", image, "600")
    yield container
    _podman("rm", "--force", "--time=0", container)


def _podman(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["podman", *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_stranger(container: str, attempts: Sequence[Attempt]) -> dict[Attempt, Answer]:
    told = _podman("exec", "--interactive", container, "python3", "/attempts.py", stdin=json.dumps(attempts))
    return {attempt: Answer(*answer) for attempt, answer in zip(attempts, json.loads(told), strict=True)}


@pytest.mark.parametrize("name", read_fleet().names)
class TestStranger:
    """A machine that is not of the fleet, in its network."""

    def test_reaches_what_is_for_everybody_alone(self, fleet: Fleet, stranger: str, name: str) -> None:
        address = str(fleet.variables(name)["ansible_host"])
        ports = listening(fleet.host(name))
        open_to_others = {
            port for port, addresses in ports.items() if not all(map(LOOPBACK.match, addresses))
        }
        assert {22, 9100} <= open_to_others, "they listen, and it is the firewall that refuses"
        answers = by_stranger(stranger, [("connect", f"{address}:{port}") for port in sorted(ports)])
        reached = {int(place.rpartition(":")[2]) for (_, place), answer in answers.items() if answer.allowed}
        assert reached - set(PUBLIC) == set()
        assert 22 in reached, "else it has tried nothing"

    def test_is_asked_for_a_key_there(self, fleet: Fleet, stranger: str, name: str) -> None:
        address = str(fleet.variables(name)["ansible_host"])
        ports = PUBLIC.keys() & listening(fleet.host(name))
        attempts = [
            attempt for port in sorted(ports) for attempt in asked(f"{address}:{port}", secured(fleet))
        ]
        assert refused(by_stranger(stranger, attempts)) == []


def test_flower_itself_is_for_nginx_alone(fleet: Fleet) -> None:
    """Its figures ask nobody for a password; nginx passes them on to nobody."""
    for name in fleet.groups["flower"]:
        given = {"flower_address": "127.0.0.1", "flower_port": 5555, **fleet.variables(name)}
        flower: Attempt = ("connect", f"{given['flower_address']}:{given['flower_port']}")
        assert refused(as_user(fleet.host(name), NOBODY, [flower])) == []
        assert as_user(fleet.host(name), "www-data", [flower])[flower].allowed


def test_the_fleet_reaches_what_it_works_with(fleet: Fleet) -> None:
    """The same ports, by those that they are for."""
    port = 6380 if secured(fleet) else 6379
    redis: Attempt = ("connect", f"{fleet.variables(fleet.groups['redis'][0])['ansible_host']}:{port}")
    for name in {
        name for group in ("workers", "beat", "console", "monitoring") for name in fleet.groups[group]
    }:
        assert as_user(fleet.host(name), NOBODY, [redis])[redis].allowed, name
    exporters: list[Attempt] = [
        ("connect", f"{fleet.variables(name)['ansible_host']}:{port}")
        for name in fleet.names
        for port in (9100, 9256)
    ]
    watcher = fleet.groups["monitoring"][0]
    answers = as_user(fleet.host(watcher), "prometheus", exporters)
    assert [attempt for attempt, answer in answers.items() if not answer.allowed] == []
    # And nobody else: no other user there, no other host but for itself
    assert refused(as_user(fleet.host(watcher), NOBODY, exporters)) == []
    other = next(name for name in fleet.groups["workers"] if name != watcher)
    own = fleet.variables(other)["ansible_host"]
    others = [attempt for attempt in exporters if not attempt[1].startswith(f"{own}:")]
    assert refused(as_user(fleet.host(other), "root", others)) == []
