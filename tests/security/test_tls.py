"""A fleet by TLS: what is closed, who shows which certificate, and new ones while tasks and requests go on.

For inventories with `celery_tls`, such as that of molecule/single.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from acceptance import units
from acceptance.application import ECHO, Application, Task
from acceptance.playbook import ALL, ROTATE, Playbooks
from acceptance.waiting import eventually
from consoles import Console, deployed
from hosts import Fleet
from infra.http import get, run_python
from monitors import credentials
from observability.jaeger import archive
from security.test_rotation import Load, load

QUEUE = "celery"
OPTIONAL = ("edge_flower_port", "edge_prometheus_port", "edge_alertmanager_port")
"""Ports of nginx that an inventory may leave out with 0, or by saying nothing of the last two."""
TRY = """
import socket, ssl, sys
address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
trusting = ssl.create_default_context(cafile="/etc/ssl/celery-fleet/authority.pem")
with socket.create_connection((address, port), 5) as plain:
    print(trusting.wrap_socket(plain, server_hostname=name).version())
with socket.create_connection((address, port), 5) as plain:
    plain.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    try:
        print(plain.recv(12))
    except ConnectionResetError:
        print(b"")
"""
"""By TLS, and in clear."""


@pytest.fixture(scope="module", autouse=True)
def _speaks_tls(fleet: Fleet) -> None:
    if not fleet.variables(fleet.names[0]).get("celery_tls"):
        pytest.skip("the hosts of this inventory speak in clear; molecule/single has those that do not")


@dataclass(frozen=True)
class Certificates:
    """Of a fleet: its authority on this machine, and what its hosts show."""

    fleet: Fleet

    @property
    def directory(self) -> Path:
        return Path(self.fleet.variables(self.fleet.names[0])["fleet_secrets_dir"]) / "certificates"

    @property
    def authority(self) -> str:
        return (self.directory / "authority.pem").read_text()

    def places(self) -> list[tuple[str, int]]:
        """Addresses and ports of who shows a certificate."""
        found = [(self.address(host), 6380) for host in self.fleet.groups["redis"]]
        for host in self.fleet.groups["edge"]:
            given = {"edge_flower_port": 5555, **self.fleet.variables(host)}
            found += [
                (self.address(host), port) for port in (443, *(given.get(name) for name in OPTIONAL)) if port
            ]
        for host in self.fleet.groups["monitoring"]:
            address = self.fleet.variables(host).get("monitoring_prometheus_address", "127.0.0.1")
            found += [(address, 9090)] if address != "127.0.0.1" else []
        return found

    def behind(self) -> list[tuple[str, int]]:
        """Hosts and ports of what speaks TLS to other hosts of the fleet alone: what an edge elsewhere passes requests to."""
        listening = [
            *(
                (host, each)
                for host in self.fleet.groups["console"]
                for each in self.told(host, "console_listen")
            ),
            *(
                (host, f"{self.told(host, 'flower_address')}:{self.told(host, 'flower_port')}")
                for host in self.fleet.groups["flower"]
            ),
        ]
        apart = [(host, place.rpartition(":")) for host, place in listening]
        return [(host, int(port)) for host, (address, _, port) in apart if address == self.address(host)]

    def read_once(self) -> set[str]:
        """The services that read their certificate when they start."""
        beyond = any(
            self.told(host, "monitoring_celery_exporter_address") for host in self.fleet.groups["monitoring"]
        )
        return {"prometheus-redis-exporter.service"} | ({"celery-exporter.service"} if beyond else set())

    def told(self, host: str, name: str) -> Any:
        """What the inventory says; empty: nothing."""
        return self.fleet.variables(host).get(name, "")

    def address(self, host: str) -> str:
        return str(self.fleet.variables(host)["ansible_host"])

    def shown(self) -> dict[tuple[str, int], str]:
        program = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))"
        edge = self.fleet.host(self.fleet.groups["edge"][-1])
        return {place: ssl.get_server_certificate(place) for place in self.places()} | {
            (host, port): run_python(edge, program, self.address(host), port, told="")
            for host, port in self.behind()
        }


@pytest.fixture(scope="module")
def certificates(fleet: Fleet) -> Certificates:
    return Certificates(fleet)


def judge(load: Load, app: Application) -> None:
    """That nothing was lost, and nothing failed."""
    assert load.errors == []
    assert min(len(load.tasks), len(load.answers)) > 50
    assert set(load.answers) == {200}
    ends = {task.until("SUCCESS", "FAILURE", "REVOKED", patience=120) for task in load.tasks}
    assert ends == {"SUCCESS"}


def test_nobody_listens_in_clear(fleet: Fleet) -> None:
    for host in fleet.groups["redis"]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((fleet.variables(host)["ansible_host"], 6379), 5)


def test_certificates_are_of_the_fleet_and_name_their_host(certificates: Certificates) -> None:
    trusting = ssl.create_default_context(cadata=certificates.authority)
    for address, port in certificates.places():
        with (
            socket.create_connection((address, port), 5) as plain,
            trusting.wrap_socket(plain, server_hostname=address) as secured,
        ):
            assert secured.version() == "TLSv1.3"
        with (
            socket.create_connection((address, port), 5) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname=address)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_what_is_too_old_is_refused(certificates: Certificates, version: str) -> None:
    for address, port in certificates.places():
        command = [
            "openssl",
            "s_client",
            version,
            "-cipher",
            "ALL:@SECLEVEL=0",
            "-connect",
            f"{address}:{port}",
        ]
        answer = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20)
        assert "alert protocol version" in answer.stderr, answer


def test_every_program_checks_whom_it_talks_to(fleet: Fleet) -> None:
    """What they are told of Redis; that they refuse another is in tests/integration/runtime/test_tls.py."""
    # Not every host has each of them.
    files = "/etc/celery-*/*.env /etc/default/prometheus-redis-exporter"
    command = f"grep -shoE 'redi?ss?://[^ \"]+' {files}"
    urls = [url for name in fleet.names for url in fleet.host(name).run(command).stdout.split()]
    assert len(urls) >= 11
    assert all(url.startswith("rediss://") for url in urls)
    celery = [url for url in urls if "@" in url]
    assert all(
        "ssl_cert_reqs=required&ssl_ca_certs=/etc/ssl/celery-fleet/authority.pem" in url for url in celery
    )


def test_pages_in_clear_lead_to_tls(fleet: Fleet) -> None:
    for host in fleet.groups["edge"]:
        address = fleet.variables(host)["ansible_host"]
        with socket.create_connection((address, 80), 5) as plain:
            plain.sendall(f"GET /ui HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            head = plain.makefile("rb").read().decode()
        assert head.startswith("HTTP/1.1 301")
        assert f"Location: https://{address}/ui" in head


@pytest.mark.parametrize(
    ("name", "path"),
    [("edge_prometheus_port", "/api/v1/rules"), ("edge_alertmanager_port", "/api/v2/alerts")],
)
def test_operators_come_to_prometheus_by_tls(fleet: Fleet, name: str, path: str) -> None:
    ports = {host: fleet.variables(host).get(name) for host in fleet.groups["edge"]}
    if not any(ports.values()):
        pytest.skip(f"this inventory has no {name}")
    login = base64.b64encode(credentials(fleet.variables(fleet.groups["monitoring"][0])).encode()).decode()
    for host, port in [(host, port) for host, port in ports.items() if port]:
        url = f"https://{fleet.variables(host)['ansible_host']}:{port}{path}"
        assert get(fleet.host(host), url)[0] == 401
        assert get(fleet.host(host), url, {"Authorization": f"Basic {login}"})[0] == 200


def test_exporters_answer_those_of_the_fleet_alone(fleet: Fleet, certificates: Certificates) -> None:
    """Root of a host has its certificate; who trusts the authority and shows none is refused."""
    shown = {9100: "node_uname_info", 9256: "namedprocess_namegroup_num_procs", 9121: "redis_up 1"}
    for host in fleet.groups["redis"]:
        address = fleet.variables(host)["ansible_host"]
        for port, metric in shown.items():
            url = f"https://{address}:{port}/metrics"
            assert metric in get(fleet.host(host), url)[1], url
            attempt = f"openssl s_client -connect {address}:{port} -CAfile /etc/ssl/celery-fleet/authority.pem -tls1_2"
            assert "alert bad certificate" in fleet.host(host).run(f"{attempt} </dev/null").stderr, url
            status, _ = get(fleet.host(host), f"http://{address}:{port}/metrics")
            assert status == 400, url


def test_what_an_edge_elsewhere_passes_requests_to_speaks_tls(
    fleet: Fleet, certificates: Certificates
) -> None:
    pairs = [
        (edge, host, port)
        for edge in fleet.groups["edge"]
        for host, port in certificates.behind()
        if edge != host
    ]
    if not pairs:
        pytest.skip("each edge has what is behind it on its own host; molecule/tls has another one")
    for edge, host, port in pairs:
        said = run_python(fleet.host(edge), TRY, certificates.address(host), port, host, told="")
        assert said.split() == ["TLSv1.3", "b''"], (host, port)
    for edge in {edge for edge, _, _ in pairs}:
        page = f"https://{certificates.address(edge)}"
        assert get(fleet.host(edge), f"{page}/health")[0] == 200
        assert get(fleet.host(edge), f"{page}:5555/")[0] == 401, "Flower"
        assert get(fleet.host(edge), f"{page}:5555/healthcheck")[0] == 200, "Flower"


@pytest.fixture
def jaeger(fleet: Fleet, playbooks: Playbooks, tmp_path: Path) -> str:
    """The host that runs it, or what stands in for it."""
    (name,) = fleet.groups["monitoring"]
    stand_in = archive(tmp_path)
    told = {
        "tracing_jaeger_url": stand_in.url,
        "tracing_jaeger_sha256": stand_in.sha256,
        "tracing_memory": "64M",
    }
    playbooks.converged_to({name: told}, {"tracing": [name]})
    return name


def test_traces_go_by_tls(fleet: Fleet, app: Application, certificates: Certificates, request: Any) -> None:
    if len(fleet.names) == 1:
        pytest.skip("the traces of one host stay on loopback; molecule/tls has several")
    jaeger = request.getfixturevalue("jaeger")
    sender = next(name for name in fleet.groups["workers"] if name != jaeger)
    queue = next(queue for pool in fleet.pools(sender).values() for queue in pool["queues"])
    assert app.echo(queue, "traced").until("SUCCESS", patience=60) == "SUCCESS"

    def taken() -> str:
        return fleet.host(jaeger).check_output("journalctl --quiet --output=cat -u celery-tracing")

    wanted = f"traces of {certificates.address(sender)} TLSv1.3"
    eventually(taken, wanted, until=lambda lines: wanted in lines.splitlines())


@dataclass(frozen=True)
class Renewed:
    """What was shown before, which processes ran, and what was asked of the fleet during the renewal."""

    before: Mapping[tuple[str, int], str]
    pids: Mapping[tuple[str, str], int]
    load: Load


def restarted(renewed: Renewed, fleet: Fleet) -> set[str]:
    return {unit for _, unit in units.replaced(renewed.pids, units.main_pids(fleet))}


@pytest.fixture(scope="module")
def new_certificates(
    playbooks: Playbooks, fleet: Fleet, app: Application, certificates: Certificates
) -> Renewed:
    playbooks.converged_to()
    before, pids = certificates.shown(), units.main_pids(fleet)
    with load(app, deployed(fleet, fleet.groups["edge"][-1]), QUEUE) as found:
        time.sleep(2)
        playbooks.run(ROTATE, "-e", json.dumps({"rotate_names": ["certificates"]}))
        time.sleep(2)
    return Renewed(before, pids, found)


def test_new_certificates_are_shown(new_certificates: Renewed, certificates: Certificates) -> None:
    now = certificates.shown()
    assert now.keys() == new_certificates.before.keys()
    assert not set(now.values()) & set(new_certificates.before.values())


def test_meanwhile_nothing_is_lost_and_nothing_fails(new_certificates: Renewed, app: Application) -> None:
    judge(new_certificates.load, app)


def test_who_reads_them_once_is_restarted(
    new_certificates: Renewed, fleet: Fleet, certificates: Certificates
) -> None:
    assert restarted(new_certificates, fleet) == certificates.read_once()


@dataclass(frozen=True)
class Submitting:
    """Sends tasks by the console: who sends them to Redis from elsewhere has to be told of a new authority."""

    console: Console
    app: Application

    def send(self, name: str, /, queue: str, **kwargs: Any) -> Task:
        return self.app.task(self.console.submit(name, queue, **kwargs))


@pytest.fixture(scope="module")
def new_authority(
    new_certificates: Renewed,
    playbooks: Playbooks,
    fleet: Fleet,
    app: Application,
    certificates: Certificates,
) -> Renewed:
    before, pids, authority = certificates.shown(), units.main_pids(fleet), certificates.authority
    console = deployed(fleet, fleet.groups["edge"][-1])
    with load(Submitting(console, app), console, QUEUE) as found:
        time.sleep(2)
        playbooks.run(ROTATE, "-e", json.dumps({"rotate_names": ["authority"]}))
        time.sleep(2)
    assert certificates.authority != authority
    return Renewed(before, pids, found)


def test_certificates_of_a_new_authority_are_shown(
    new_authority: Renewed, certificates: Certificates
) -> None:
    test_certificates_are_of_the_fleet_and_name_their_host(certificates)
    assert not set(certificates.shown().values()) & set(new_authority.before.values())


def test_meanwhile_nothing_is_lost_and_nothing_fails_either(new_authority: Renewed, app: Application) -> None:
    judge(new_authority.load, app)


def test_who_reads_it_once_is_restarted(
    new_authority: Renewed, fleet: Fleet, certificates: Certificates
) -> None:
    assert restarted(new_authority, fleet) == certificates.read_once()


def test_the_authority_before_is_trusted_by_nobody(
    new_authority: Renewed, fleet: Fleet, certificates: Certificates
) -> None:
    assert new_authority
    for name in fleet.names:
        trusted = fleet.host(name).file("/etc/ssl/celery-fleet/authority.pem").content_string
        assert trusted.strip() == certificates.authority.strip()


@pytest.fixture(scope="module")
def there_and_back(playbooks: Playbooks, fleet: Fleet) -> list[str]:
    """Tasks that were sent on a host, the whole time, while everybody moved to the port in clear and back."""
    playbooks.converged_to()
    host = fleet.host(fleet.groups["workers"][0])
    loop = (
        f"while :; do fleet submit {ECHO} --queue {QUEUE} --json; sleep 1; done"
        " >/var/tmp/submitted 2>/var/tmp/failed"
    )
    host.check_output(f"systemd-run --unit=submitting --collect sh -c {shlex.quote(loop)}")
    try:
        playbooks.converged_to({ALL: {"celery_tls": False}})
        for name in fleet.groups["redis"]:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((fleet.variables(name)["ansible_host"], 6380), 5)
        playbooks.converged_to()
    finally:
        host.check_output("systemctl stop submitting")
    assert host.file("/var/tmp/failed").content_string == ""
    return re.findall(r'"id": "([^"]+)"', host.file("/var/tmp/submitted").content_string)


def test_who_moves_to_the_port_in_clear_and_back_loses_nothing(
    there_and_back: list[str], app: Application
) -> None:
    assert len(there_and_back) > 20
    ends = {app.task(each).until("SUCCESS", "FAILURE", "REVOKED", patience=120) for each in there_and_back}
    assert ends == {"SUCCESS"}


def test_the_port_in_clear_is_closed_again(there_and_back: list[str], fleet: Fleet) -> None:
    assert there_and_back
    test_nobody_listens_in_clear(fleet)
