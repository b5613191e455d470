"""A1 and F8: Flower, for those who have the password; and what it sees."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from infra.http import addresses_of, entrance, get, secret, url_of

pytestmark = pytest.mark.group("flower")
UNIT = "celery-flower.service"
PATIENCE = 30


@pytest.fixture
def url(variables: Mapping[str, Any]) -> str:
    place = f"{variables.get('flower_address', '127.0.0.1')}:{variables.get('flower_port', 5555)}"
    return url_of(variables, place)


@pytest.fixture
def password(variables: Mapping[str, Any]) -> dict[str, str]:
    pair = f"{variables.get('flower_user', 'flower')}:{secret(variables, 'flower')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def test_service(host: Host, variables: Mapping[str, Any]) -> None:
    assert host.service(UNIT).is_running
    assert host.service(UNIT).is_enabled
    shown = host.check_output(f"systemctl show -p User,ExecStart,MemoryMax,Environment {UNIT}")
    assert "User=celery-flower" in shown
    assert "MemoryMax=infinity" not in shown
    for name in ("flower", "redis-flower"):
        assert secret(variables, name) not in shown + host.check_output("ps -eo args")
    assert addresses_of(host, variables.get("flower_port", 5555)) >= {
        variables.get("flower_address", "127.0.0.1")
    }


def test_asks_for_the_password(host: Host, url: str, password: dict[str, str]) -> None:
    for path in ("/", "/workers", "/tasks", "/api/workers"):
        assert get(host, url + path)[0] == 401, path
    assert get(host, url + "/", password)[0] == 200


def test_shows_every_worker(host: Host, fleet: Any, url: str, password: dict[str, str]) -> None:
    wanted = {f"{pool}@{name}" for name in fleet.groups["workers"] for pool in fleet.pools(name)}
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = set(json.loads(get(host, f"{url}/api/workers?refresh=1", password)[1]))
        if wanted <= seen or time.monotonic() > deadline:
            break
    assert wanted <= seen
    page = get(host, url + "/workers", password)[1]
    assert all(name in page for name in wanted)


def test_sees_a_task(host: Host, fleet: Any, url: str, password: dict[str, str]) -> None:
    worker = fleet.host(fleet.groups["workers"][0])
    code = "from celery_fleet.app import app; r = app.send_task('celery.backend_cleanup'); print(r.id)"
    task_id = worker.check_output(f'fleet-run python -c "{code}"').split()[-1]
    deadline = time.monotonic() + PATIENCE
    seen: dict[str, Any] = {}
    while seen.get("state") != "SUCCESS" and time.monotonic() < deadline:
        status, body = get(host, f"{url}/api/task/info/{task_id}", password)
        seen = json.loads(body) if status == 200 else {}
        time.sleep(0.5)
    assert (seen["name"], seen["state"]) == ("celery.backend_cleanup", "SUCCESS")


@pytest.mark.group("edge")
def test_through_the_edge(
    host: Host, variables: Mapping[str, Any], fleet: Any, url: str, password: dict[str, str]
) -> None:
    if not fleet.groups.get("flower") or not variables.get("edge_flower_port", 5555):
        # An inventory may have the one and not the other; the fleets of Molecule have both.
        pytest.skip("there is no Flower behind this edge")
    place = entrance(variables, fleet, variables.get("edge_flower_port", 5555))
    if place == url:
        # On loopback Flower has its port already, and nginx leaves it alone; the tests above ask it.
        pytest.skip("Flower itself is there")
    assert get(host, place)[0] == 401
    assert get(host, place, password)[0] == 200
    assert get(host, f"{place}/metrics", password)[0] == 404
