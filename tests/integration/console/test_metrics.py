"""Dashboards, with a real Prometheus that has samples of the last hour."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from celery_fleet.panels import DASHBOARDS
from integration.support import eventually, free_port

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


def samples(now: int) -> str:
    """Of two queues: how many messages wait, for the last half an hour."""
    lines = ["# TYPE celery_queue_length gauge"]
    for queue, value in (("email", 3), ("bulk", 7)):
        lines += [
            f'celery_queue_length{{queue_name="{queue}"}} {value} {at}' for at in range(now - 1800, now, 15)
        ]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    assert PROMETHEUS, "Debian's package prometheus is needed"
    assert PROMTOOL
    directory: Path = tmp_path_factory.mktemp("prometheus")
    (directory / "samples").write_text(samples(int(time.time())))
    (directory / "prometheus.yml").write_text("{}\n")
    data = directory / "data"
    created = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(directory / "samples"), str(data)]
    subprocess.run(created, check=True, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            eventually(lambda: ready(f"http://{address}"), what="Prometheus")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(20)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def with_prometheus(settings: dict[str, str], prometheus: str) -> None:
    settings["CONSOLE_PROMETHEUS_URL"] = prometheus


LENGTH = "/api/v1/dashboards/queues/panels/length"


@pytest.mark.usefixtures("with_prometheus")
def test_a_panel_has_a_line_for_each_queue(viewer: httpx.Client) -> None:
    told = viewer.get(LENGTH).json()
    assert (told["available"], told["left_out"]) == (True, 0)
    found = {line["labels"]["queue_name"]: line["values"] for line in told["series"]}
    assert {name: {value for value in values if value} for name, values in found.items()} == {
        "email": {3},
        "bulk": {7},
    }
    assert all(len(values) == len(told["at"]) <= 361 for values in found.values())


@pytest.mark.usefixtures("with_prometheus")
def test_what_is_chosen_is_all_that_is_shown(viewer: httpx.Client) -> None:
    detail = viewer.get("/api/v1/dashboards/queues").json()
    assert [each["values"] for each in detail["variables"]] == [["bulk", "email"]]
    told = viewer.get(LENGTH, params={"queue": "email"}).json()
    assert [line["labels"]["queue_name"] for line in told["series"]] == ["email"]


@pytest.mark.usefixtures("with_prometheus")
@pytest.mark.parametrize("value", ["nobody", ".*", '"} or up{a="'])
def test_a_value_that_prometheus_does_not_know_is_not_asked_for(viewer: httpx.Client, value: str) -> None:
    assert viewer.get(LENGTH, params={"queue": value}).status_code == 404


@pytest.mark.usefixtures("with_prometheus")
def test_prometheus_takes_every_panel(viewer: httpx.Client) -> None:
    for dashboard in DASHBOARDS:
        assert viewer.get(f"/ui/metrics/{dashboard.name}").status_code == 200
        for panel in dashboard.panels:
            told = viewer.get(f"/api/v1/dashboards/{dashboard.name}/panels/{panel.id}").json()
            assert told["available"], (panel.id, told["reason"])


def test_without_prometheus_it_is_said(viewer: httpx.Client) -> None:
    told = viewer.get(LENGTH).json()
    assert not told["available"]
    assert "no Prometheus is configured" in told["reason"]
    assert "CONSOLE_PROMETHEUS_URL" in viewer.get("/ui/metrics/queues").text


def test_a_prometheus_that_does_not_answer_is_named(
    settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    settings["CONSOLE_PROMETHEUS_URL"] = url = f"http://127.0.0.1:{free_port()}"
    viewer: httpx.Client = request.getfixturevalue("viewer")
    told = viewer.get(LENGTH).json()
    assert not told["available"]
    assert url in told["reason"]


def test_nobody_looks_without_a_key(desk: object, viewer: httpx.Client) -> None:
    assert httpx.get(f"{viewer.base_url}{LENGTH}").status_code == 401
    assert viewer.get("/api/v1/dashboards/nothing").status_code == 404
    assert viewer.get("/api/v1/dashboards/queues/panels/nothing").status_code == 404
