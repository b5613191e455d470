"""Who is told of what: the rendered configuration in the real amtool, and in the real Alertmanager."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rules.rendering import variables
from templates.rendering import render

Labels = Mapping[str, str]
PATIENCE = 20.0
"""Seconds until it listens."""

RECEIVERS = {
    "oncall": {"pagerduty": [{"routing_key": "k"}], "webhook": [{"url": "http://127.0.0.1:1/"}]},
    "team": {
        "slack": [{"api_url": "http://127.0.0.1:1/", "channel": "#celery"}],
        "email": [{"to": "team@example.org", "from": "fleet@example.org", "smarthost": "127.0.0.1:25"}],
    },
    "mail": {"webhook": [{"url": "http://127.0.0.1:1/"}]},
    "dead-man": {"webhook": [{"url": "http://127.0.0.1:1/"}]},
}
ROUTES: list[dict[str, Any]] = [
    {"receiver": "oncall", "match": {"severity": "page"}, "group_wait": "0s"},
    {"receiver": "mail", "match": {"severity": "ticket", "queue_name": ["email", "a.b"]}},
    {"receiver": "team"},
    {"receiver": "dead-man", "match": {"alertname": "Watchdog"}, "repeat_interval": "1m"},
]


@pytest.fixture(autouse=True)
def _programs() -> None:
    missing = [name for name in ("amtool", "prometheus-alertmanager") if not shutil.which(name)]
    if missing:
        pytest.fail(
            f"{' and '.join(missing)} not here: run scripts/setup, or apt-get install prometheus-alertmanager"
        )


def configuration(tmp_path: Path, **more: Any) -> Path:
    """Alertmanager's file, with the templates of messages beside it."""
    known = variables(str(tmp_path), **more)
    text = render("monitoring", "alertmanager.yml.j2", known).replace(
        "/etc/prometheus/alertmanager.d", str(tmp_path)
    )
    (tmp_path / "fleet.tmpl").write_text(render("monitoring", "alertmanager.tmpl.j2", known))
    path = tmp_path / "alertmanager.yml"
    path.write_text(text)
    return path


def test_amtool_takes_the_configuration(tmp_path: Path) -> None:
    for more in ({}, {"monitoring_receivers": RECEIVERS, "monitoring_routes": ROUTES}):
        command = ["amtool", "check-config", str(configuration(tmp_path, **more))]
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "1 templates" in run.stdout


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "RedisDown", "severity": "page"}, "oncall"),
        ({"alertname": "QueueStuck", "severity": "page", "queue_name": "email"}, "oncall"),
        ({"alertname": "QueueStuck", "severity": "ticket", "queue_name": "email"}, "mail"),
        ({"alertname": "QueueStuck", "severity": "ticket", "queue_name": "a.b"}, "mail"),
        ({"alertname": "QueueStuck", "severity": "ticket", "queue_name": "axb"}, "team"),
        ({"alertname": "DiskFull", "severity": "ticket"}, "team"),
        ({"alertname": "Watchdog", "severity": "none"}, "dead-man"),
        ({"alertname": "Other", "severity": "none"}, "nobody"),
    ],
)
def test_routes(tmp_path: Path, labels: Labels, receiver: str) -> None:
    path = configuration(tmp_path, monitoring_receivers=RECEIVERS, monitoring_routes=ROUTES)
    words = [f"{name}={value}" for name, value in labels.items()]
    command = [
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={path}",
        f"--verify.receivers={receiver}",
        *words,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_without_a_route_the_first_receiver_is_told_of_all_but_what_is_always_there(
    tmp_path: Path, severity: str
) -> None:
    path = configuration(tmp_path, monitoring_receivers=RECEIVERS)
    for asked, receiver in ((severity, "oncall"), ("none", "nobody")):
        command = ["amtool", "config", "routes", "test", f"--config.file={path}"]
        found = subprocess.check_output([*command, f"severity={asked}"], text=True, timeout=30)
        assert found.split() == [receiver]


def _ask(address: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@contextmanager
def running(directory: Path, configuration: Path) -> Iterator[str]:
    """A real Alertmanager. Gives the address of its alerts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus-alertmanager",
        f"--config.file={configuration}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    alerts = f"http://127.0.0.1:{port}/api/v2/alerts"
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    _ask(alerts)
                    break
                except urllib.error.URLError:
                    assert process.poll() is None, (directory / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield alerts
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[dict[str, str]]], set[str]]]:
    """Of alerts that fire together, those that somebody is told of."""
    directory = tmp_path_factory.mktemp("alertmanager")
    with running(directory, configuration(directory)) as address:

        def judge(alerts: list[dict[str, str]]) -> set[str]:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _ask(address, [{"labels": labels} for labels in alerts])
            deadline = time.monotonic() + PATIENCE
            while len(found := _ask(address)) < len(alerts) and time.monotonic() < deadline:
                time.sleep(0.05)
            names = {name(each["labels"]) for each in found if each["status"]["state"] == "active"}
            # They end, so that the next test begins without them.
            _ask(address, [{"labels": labels, "startsAt": now, "endsAt": now} for labels in alerts])
            while _ask(address) and time.monotonic() < deadline:
                time.sleep(0.05)
            return names

        yield judge


def name(labels: Labels) -> str:
    """`QueueStuck email page`"""
    keys = ("alertname", "queue_name", "worker", "instance", "mountpoint", "severity")
    return " ".join(labels[key] for key in keys if key in labels)


def alert(alertname: str, severity: str = "page", **labels: str) -> dict[str, str]:
    return {"alertname": alertname, "severity": severity, **labels}


WORKER = {"worker": "default@worker1", "instance": "worker1", "depends": "redis"}
EMAIL = {"queue_name": "email", "depends": "redis"}
CASES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "Redis down silences what follows from it, and nothing else": (
        [
            alert("RedisDown", instance="redis1"),
            alert("WorkerMissing", "ticket", **WORKER),
            alert("QueueStuck", **EMAIL),
            alert("ExporterBlind", instance="monitor1"),
            alert("ProbeFailed", service="console", instance="monitor1", depends="redis"),
        ],
        {"RedisDown redis1 page", "ExporterBlind monitor1 page"},
    ),
    "a lost host silences what runs there": (
        [
            alert("HostDown", instance="worker1"),
            alert("TargetDown", "ticket", instance="worker1", job="node"),
            alert("WorkerMissing", "ticket", **WORKER),
            alert("WorkerMissing", "ticket", worker="default@worker2", instance="worker2", depends="redis"),
            alert("QueueNoConsumers", **EMAIL),
        ],
        {
            "HostDown worker1 page",
            "WorkerMissing default@worker2 worker2 ticket",
            "QueueNoConsumers email page",
        },
    ),
    "the lost host of Redis silences what follows from Redis": (
        [
            alert("HostDown", instance="redis1"),
            alert("RedisDown", instance="redis1"),
            alert("QueueStuck", **EMAIL),
            alert("WorkerMissing", "ticket", **WORKER),
        ],
        {"HostDown redis1 page"},
    ),
    "a page silences its own ticket, not that of another": (
        [
            alert("DiskFull", instance="redis1", mountpoint="/"),
            alert("DiskFull", "ticket", instance="redis1", mountpoint="/"),
            alert("DiskFull", "ticket", instance="redis1", mountpoint="/var"),
        ],
        {"DiskFull redis1 / page", "DiskFull redis1 /var ticket"},
    ),
    "a queue without workers explains what waits in it": (
        [
            alert("QueueNoConsumers", **EMAIL),
            *(alert(each, **EMAIL) for each in ("QueueStuck", "QueueLatencyHigh", "QueueLatencyBurn")),
            alert("BacklogGrowing", "ticket", **EMAIL),
            alert("QueueLatencyHigh", queue_name="celery", depends="redis"),
        ],
        {"QueueNoConsumers email page", "QueueLatencyHigh celery page"},
    ),
    "a ticket silences no page": (
        [alert("QueueNoConsumers", "ticket", **EMAIL), alert("QueueStuck", **EMAIL)],
        {"QueueNoConsumers email ticket", "QueueStuck email page"},
    ),
    "a stuck queue is late": (
        [
            alert("QueueStuck", **EMAIL),
            alert("QueueLatencyHigh", **EMAIL),
            alert("QueueLatencyBurn", **EMAIL),
        ],
        {"QueueStuck email page"},
    ),
    "a stuck task runs for long": (
        [
            alert("TaskStuck", **WORKER),
            alert("TaskRunningLong", **WORKER),
            alert("UnackedNearVisibilityTimeout", "ticket", **WORKER),
        ],
        {"TaskStuck default@worker1 worker1 page"},
    ),
    "entries of a Beat that is away are late": (
        [
            alert("BeatStalled", instance="monitor1"),
            alert("BeatEntryLate", "ticket", instance="monitor1", entry="x"),
        ],
        {"BeatStalled monitor1 page"},
    ),
    "the queue that fails explains the failures of the fleet": (
        [
            alert("TaskErrorBudgetBurn", **EMAIL),
            alert("TaskFailureRateHigh", depends="redis"),
            alert("TaskFailureRateHigh", "ticket", depends="redis"),
        ],
        {"TaskErrorBudgetBurn email page"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_follows_is_not_told(case: str, told: Callable[[list[dict[str, str]]], set[str]]) -> None:
    alerts, expected = CASES[case]
    assert told(alerts) == expected


def test_a_message_says_what_is_to_be_done(tmp_path: Path) -> None:
    """What Slack gets from the real Alertmanager; its address comes from a file, as the role writes it."""
    got: list[dict[str, Any]] = []

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what came is kept."""

    with HTTPServer(("127.0.0.1", 0), Slack) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        receivers = {"team": {"slack": [{"api_url": url, "channel": "#celery"}]}}
        routes = [{"receiver": "team", "group_wait": "0s"}]
        path = configuration(tmp_path, monitoring_receivers=receivers, monitoring_routes=routes)
        assert url not in path.read_text()
        (tmp_path / "team-slack-1.api_url").write_text(url)
        notes = {
            "summary": "Nothing begins in email",
            "impact": "None of its tasks is done",
            "command": "sudo fleet queues",
            "runbook_url": "https://example.org/runbook#queuestuck",
        }
        with running(tmp_path, path) as alerts:
            _ask(alerts, [{"labels": alert("QueueStuck", **EMAIL), "annotations": notes}])
            deadline = time.monotonic() + PATIENCE
            while not got and time.monotonic() < deadline:
                time.sleep(0.05)
        server.shutdown()
    (said,) = got[0]["attachments"]
    assert said["title"] == "PAGE: QueueStuck, queue email"
    assert all(text in said["text"] for text in notes.values())
