"""The console serves whom it should, on the addresses that it should, and a restart refuses nobody."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from infra.http import addresses_of, entrance, get, run_python, secret, url_of
from monitors import credentials

pytestmark = pytest.mark.group("console")
UNIT = "celery-console.service"

LOAD = """
import http.client, sys, threading, time

host, port, streams, key = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.readline().strip()
headers = {"X-API-Key": key}
opened, ended, answers, wrong = [], [], [], []
stop = threading.Event()

def stream():
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("GET", "/api/v1/events", headers=headers)
    answer = connection.getresponse()
    opened.append(answer.status)
    try:
        while answer.read1(65536):
            pass
    except (http.client.HTTPException, OSError) as error:
        wrong.append(f"stream: {error!r}")
    ended.append(time.monotonic())

def ask(keep):
    connection = None
    while not stop.is_set():
        try:
            connection = connection or http.client.HTTPConnection(host, port, timeout=30)
            connection.request("GET", "/api/v1/queues", headers=headers)
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
            if not keep or answer.getheader("connection") == "close":
                connection.close()
                connection = None
        except (http.client.HTTPException, OSError) as error:
            wrong.append(f"{'kept' if keep else 'new'} connection: {error!r}")
            connection = None
        time.sleep(0.02)

threads = [threading.Thread(target=stream) for _ in range(streams)]
threads += [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
for thread in threads:
    thread.start()
deadline = time.monotonic() + 20
while (len(opened) < streams or not answers) and time.monotonic() < deadline:
    time.sleep(0.1)
import json, subprocess
started = time.monotonic()
subprocess.run(["systemctl", "stop", "celery-console.service"], check=True)
stopped = time.monotonic() - started
subprocess.run(["systemctl", "start", "celery-console.service"], check=True)
time.sleep(1)
stop.set()
for thread in threads:
    thread.join(60)
print(json.dumps({"opened": opened, "ended": len(ended), "stopped": stopped, "answers": answers, "wrong": wrong}))
"""


def listens(variables: Mapping[str, Any]) -> list[str]:
    found: list[str] = variables.get("console_listen", ["127.0.0.1:8000", "127.0.0.1:5001"])
    return found


def test_service(host: Host) -> None:
    for unit in (UNIT, "celery-console.socket"):
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled
    shown = host.check_output(f"systemctl show -p User,Type,StatusText,MemoryMax,NRestarts {UNIT}")
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    assert (facts["User"], facts["Type"]) == ("celery-console", "notify")
    assert facts["MemoryMax"] != "infinity"
    assert "processes serve" in facts["StatusText"]


def test_listens_where_it_should(host: Host, variables: Mapping[str, Any]) -> None:
    for place in listens(variables):
        address, _, port = place.rpartition(":")
        assert address in addresses_of(host, int(port))


def test_lets_in_who_has_a_key(host: Host, variables: Mapping[str, Any]) -> None:
    for place in listens(variables):
        url = url_of(variables, f"{place}/api/v1/queues")
        assert get(host, url)[0] == 401
        assert get(host, url, {"X-API-Key": "guess"})[0] == 401
        for name in ("console-viewer", "console-operator"):
            status, body = get(host, url, {"X-API-Key": secret(variables, name)})
            assert status == 200
            assert json.loads(body)


def test_keys_are_not_on_the_host(host: Host, variables: Mapping[str, Any]) -> None:
    keys = host.file("/etc/celery-console/keys.json")
    assert (keys.user, keys.group, keys.mode) == ("root", "celery-console", 0o640)
    known = json.loads(keys.content_string)
    for name in ("operator", "viewer"):
        key = secret(variables, f"console-{name}")
        assert known[name] == {"role": name, "sha256": hashlib.sha256(key.encode()).hexdigest()}
        assert key not in keys.content_string
    for name in ("session.key", "redis.password"):
        file = host.file(f"/etc/celery-console/{name}")
        assert (file.user, file.group, file.mode) == ("root", "celery-console", 0o640)
        assert file.content_string.strip() not in host.check_output(f"systemctl show {UNIT}")


def test_nothing_of_the_app_is_in_its_release(host: Host, variables: Mapping[str, Any]) -> None:
    root = variables.get("console_root", "/opt/fleet-console")
    names = host.check_output(f"ls {root}/current/lib/python3*/site-packages")
    assert "celery_fleet" in names
    assert "taskapp" not in names


def test_its_log(host: Host) -> None:
    file = host.file("/var/log/celery-console/console.log")
    assert (file.user, file.mode) == ("celery-console", 0o640)
    assert host.run(f"journalctl -q -u {UNIT} -g 'processes serve' -n 1").rc == 0


def test_redis_refused_nothing(host: Host, fleet: Any) -> None:
    redis = fleet.host(fleet.groups["redis"][0])
    login = "REDISCLI_AUTH=$(cat /etc/redis/admin.password) redis-cli -s /run/redis/redis-server.sock --user admin"
    command = f"{login} --no-auth-warning ACL LOG 128"
    entries = redis.check_output(f"sh -c {shlex.quote(command)}").splitlines()
    assert not {"console", "flower"} & set(entries), "\n".join(entries)


def test_a_restart_refuses_nobody(host: Host, variables: Mapping[str, Any]) -> None:
    """Fifty open streams end at once; whoever asks meanwhile waits and gets an answer."""
    address, _, port = next(each for each in listens(variables) if each.startswith("127.")).rpartition(":")
    key = secret(variables, "console-viewer")
    result = json.loads(run_python(host, LOAD, address, port, 50, told=key))
    assert result["opened"] == [200] * 50
    assert result["ended"] == 50
    assert result["stopped"] < 5
    assert result["wrong"] == []
    assert set(result["answers"]) == {200}


@pytest.mark.group("edge")
def test_edge(host: Host, variables: Mapping[str, Any], fleet: Any) -> None:
    assert host.service("nginx").is_running
    assert host.service("nginx").is_enabled
    host.run_expect([0], "nginx -t -q")
    port = 443 if variables.get("celery_tls") else (variables.get("edge_console_ports") or [80])[0]
    url = entrance(variables, fleet, port)
    assert get(host, f"{url}/api/v1/queues")[0] == 401
    status, _ = get(host, f"{url}/api/v1/queues", {"X-API-Key": secret(variables, "console-viewer")})
    assert status == 200
    assert get(host, f"{url}/metrics")[0] == 401, "without a key that is for Prometheus alone"


@pytest.mark.group("all")
def test_only_where_the_groups_say(host: Host, hostname: str, fleet: Any) -> None:
    for unit, group in ((UNIT, "console"), ("celery-flower.service", "flower")):
        running = host.run(f"systemctl is-active {unit}").stdout.strip() == "active"
        assert running == (hostname in fleet.groups.get(group, ())), unit
    # An nginx of the host's own is none of the fleet's business.
    assert host.file("/etc/nginx/celery-fleet").exists == (hostname in fleet.groups.get("edge", ()))


@pytest.mark.group("monitoring")
def test_alertmanager_has_the_alerts_of_prometheus(host: Host, variables: Mapping[str, Any]) -> None:
    assert host.service("prometheus-alertmanager").is_running
    address = variables.get("monitoring_alertmanager_address", "127.0.0.1")
    port = variables.get("monitoring_alertmanager_port", 9093)
    assert addresses_of(host, port) == {address}
    host.run_expect([0], "amtool check-config /etc/prometheus/alertmanager.yml")
    header = base64.b64encode(credentials(variables).encode()).decode()
    headers = {"Authorization": f"Basic {header}"}
    _, body = get(host, f"http://{address}:{port}/api/v2/alerts", headers, patience=60, until='"Watchdog"')
    assert "Watchdog" in [alert["labels"]["alertname"] for alert in json.loads(body)]
