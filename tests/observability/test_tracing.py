"""D4: one trace from the console's API over the workers of two hosts to what they call; the journal and the page name it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from acceptance import units
from acceptance.playbook import ALL, Overrides, Playbooks
from acceptance.waiting import eventually
from consoles import Console, deployed
from hosts import Fleet
from observability.jaeger import archive
from otlp import Backend, Site, backend, is_redis, site, tree

PORT = 14318
"""The same in every run, so that a second one has nothing to change."""

CHECK = [
    "PRODUCER send taskapp.applications.check_health",
    ["CONSUMER run taskapp.applications.check_health", ["CLIENT GET"]],
]


@pytest.fixture(scope="module")
def here(fleet: Fleet) -> str:
    """The address of this machine in the hosts' network."""
    subnet = fleet.variables(fleet.names[0])["testbed_subnet"]
    return str(next(ipaddress.ip_network(subnet).hosts()))


@pytest.fixture(scope="module")
def traces(here: str) -> Iterator[Backend]:
    with backend(here, PORT) as found:
        yield found


@pytest.fixture(scope="module")
def web(here: str) -> Iterator[Site]:
    with site(here) as found:
        yield found


@pytest.fixture(scope="module")
def monitor(fleet: Fleet) -> str:
    """The host that is to run Jaeger."""
    (name,) = fleet.groups["monitoring"]
    return name


@pytest.fixture(scope="module")
def overrides(traces: Backend, monitor: str, tmp_path_factory: pytest.TempPathFactory) -> Overrides:
    """The fleet runs Jaeger, or what stands in for it, and sends its traces to this machine instead."""
    jaeger = archive(tmp_path_factory.mktemp("jaeger"))
    return {
        ALL: {
            "celery_tracing": {"endpoint": traces.url},
            "celery_tracing_headers": {"x-key": "s3cret, and = more"},
            "console_trace_url": "http://traces.example/trace/{trace_id}",
        },
        monitor: {
            "tracing_jaeger_url": jaeger.url,
            "tracing_jaeger_sha256": jaeger.sha256,
            "tracing_memory": "64M",
        },
    }


@pytest.fixture(scope="module")
def console(fleet: Fleet, playbooks: Playbooks, overrides: Overrides, monitor: str) -> Console:
    playbooks.converged_to(overrides, {"tracing": [monitor]})
    return deployed(fleet)


def test_an_archive_with_another_checksum_is_refused(
    playbooks: Playbooks, overrides: Overrides, monitor: str
) -> None:
    wrong = {**overrides, monitor: {**overrides[monitor], "tracing_jaeger_sha256": "a" * 64}}
    run = playbooks.run(overrides=wrong, groups={"tracing": [monitor]}, fails=True)
    assert run.refused
    assert "Check tracing_jaeger_version, tracing_jaeger_url and tracing_jaeger_sha256." in run.messages
    assert not run.files
    assert not run.actions


def test_one_trace_is_on_the_page_and_in_the_journal(
    console: Console, fleet: Fleet, traces: Backend, web: Site
) -> None:
    # A task that sends tasks: a check of each application, which calls it.
    first = console.submit("taskapp.applications.check_health", application_id="a", health_url=web.url)
    eventually(lambda: console.state(first), f"the end of {first}", until=lambda state: state == "SUCCESS")
    root = console.submit("taskapp.applications.check_all_active")
    eventually(lambda: console.state(root), f"the end of {root}", until=lambda state: state == "SUCCESS")

    def spans() -> list[Any]:
        wanted = [each for each in traces.spans if each.attributes.get("messaging.message.id") == root]
        found = traces.trace(wanted[0].trace_id) if wanted else []
        return tree(span for span in found if not is_redis(span))

    def is_whole(found: list[Any]) -> bool:
        match found:
            case [
                ["SERVER POST /api/v1/tasks", ["PRODUCER send taskapp.applications.check_all_active", run]]
            ]:
                checks = run[1:]
                # There may be other applications, which other tests have registered, and not all of them answer.
                return CHECK in checks and all(len(check[1]) == 2 for check in checks)
        return False

    eventually(spans, "all spans", until=is_whole)

    consumer = next(
        span
        for span in traces.spans
        if span.name.startswith("run ") and span.attributes.get("messaging.message.id") == root
    )
    host, pool = str(consumer.resource["host.name"]), consumer.service.removeprefix("celery-worker/")
    assert consumer.resource["service.instance.id"] == f"{pool}@{host}"
    assert consumer.resource["service.version"]
    assert traces.requests[-1]["x-key"] == "s3cret, and = more"

    task = console.get(f"/api/v1/tasks/{root}")
    assert task["trace_id"] == consumer.trace_id
    assert task["trace_url"] == f"http://traces.example/trace/{consumer.trace_id}"
    lines = [line["MESSAGE"] for line in units.journal(fleet.host(host), f"TRACE_ID={consumer.trace_id}")]
    assert any(f"Task started task_id={root}" in line for line in lines), lines


def test_the_key_of_the_backend_is_in_no_environment(console: Console, fleet: Fleet) -> None:
    host = fleet.host(fleet.groups["workers"][0])
    assert host.run("grep -rl s3cret /etc/celery-fleet /etc/systemd").stdout.split() == [
        "/etc/celery-fleet/tracing.headers"
    ]
    assert host.file("/etc/celery-fleet/tracing.headers").mode == 0o640


@pytest.mark.usefixtures("console")
def test_jaeger_runs_and_a_second_run_changes_nothing(
    playbooks: Playbooks, overrides: Overrides, fleet: Fleet, monitor: str
) -> None:
    host = fleet.host(monitor)
    assert units.show(host, "celery-tracing.service", "ActiveState", "User", "MemoryMax") == {
        "ActiveState": "active",
        "User": "celery-tracing",
        "MemoryMax": str(64 * 2**20),
    }
    assert host.socket(f"tcp://{fleet.variables(monitor)['ansible_host']}:4318").is_listening
    assert not host.socket("tcp://0.0.0.0:4318").is_listening
    again = playbooks.run("site.yml", "--tags=tracing", overrides=overrides, groups={"tracing": [monitor]})
    assert again.changed == {}
