"""C9: the lines of all hosts on one host, by TLS on both sides; an outage of it loses none."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from testinfra.host import Host

from acceptance import units
from acceptance.application import ECHO, Application
from acceptance.playbook import Playbooks
from acceptance.waiting import eventually
from hosts import Fleet

LOG_HOST, REMOTE = "monitor1", "/var/log/journal/remote"
PLACES = {"default": "worker1", "email": "worker2"}

CONNECT = """
import ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/celery-logs/authority.pem")
if sys.argv[2:]:
    context.load_cert_chain("/etc/celery-logs/certificate.pem", "/etc/celery-logs/sender.key")
request = urllib.request.Request(sys.argv[1], b"", {"Content-Type": "application/vnd.fdo.journal"})
try:
    print(urllib.request.urlopen(request, context=context, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module", autouse=True)
def log_host(playbooks: Playbooks, fleet: Fleet) -> Host:
    playbooks.converged_to(groups={"logs": [LOG_HOST]})
    return fleet.host(LOG_HOST)


def collected(log_host: Host, *matches: str) -> list[dict[str, Any]]:
    return units.journal(log_host, f"--directory={REMOTE}", *matches)


def test_the_lines_of_a_task_are_there(app: Application, log_host: Host) -> None:
    for queue, host in PLACES.items():
        task = app.echo(queue, 1)
        task.result()
        lines = eventually(
            lambda t=task: collected(log_host, f"TASK_ID={t.id}"),  # type: ignore[misc]
            f"the lines of {ECHO} on {host}",
            until=lambda found: any("Task completed" in line["MESSAGE"] for line in found),
        )
        assert {line["_HOSTNAME"] for line in lines} == {host}
        assert all(line["POOL"] and line["QUEUE"] == queue and line["RELEASE"] for line in lines)


def test_an_outage_loses_nothing(fleet: Fleet, log_host: Host) -> None:
    text = f"outage-{uuid.uuid4().hex}"
    log_host.check_output("systemctl stop celery-logs.service")
    try:
        written = f"for i in $(seq 300); do echo {text}-$i; done | systemd-cat --identifier=outage"
        units.on_all(PLACES.values(), lambda name: fleet.host(name).check_output(written))
        state = "systemctl show --property=SubState --value systemd-journal-upload.service"
        for host in PLACES.values():
            eventually(
                lambda h=host: fleet.host(h).check_output(state).strip() == "auto-restart",  # type: ignore[misc]
                f"{host} has noticed",
            )
    finally:
        log_host.check_output("systemctl start celery-logs.service")
    wanted = {(host, f"{text}-{number}") for host in PLACES.values() for number in range(1, 301)}
    eventually(
        lambda: {
            (line["_HOSTNAME"], line["MESSAGE"])
            for line in collected(log_host, "SYSLOG_IDENTIFIER=outage")
            if line["MESSAGE"].startswith(text)
        },
        "every line of both hosts has come",
        until=lambda found: found == wanted,
    )


def test_who_has_no_certificate_is_refused(fleet: Fleet, log_host: Host) -> None:
    url = f"https://{fleet.variables(LOG_HOST)['ansible_host']}:19532/upload"
    worker = fleet.host("worker1")
    ask = f"python3 -c '{CONNECT}' {url}"
    assert worker.check_output(ask) == "400"
    assert worker.check_output(f"{ask} certificate") != "400"
    assert log_host.check_output(f"stat -c '%U %a' {REMOTE}") == "systemd-journal-remote 750"
    assert log_host.run("systemctl is-active systemd-journal-remote.socket").stdout.strip() != "active"


def test_the_log_host_goes_away(playbooks: Playbooks, fleet: Fleet) -> None:
    playbooks.converged_to()
    for name in fleet.names:
        left = "systemctl list-units --plain --no-legend 'celery-logs*' 'celery-journal*' systemd-journal-upload.service"
        assert fleet.host(name).check_output(left) == ""
        assert not fleet.host(name).file("/etc/celery-logs").exists
