"""What `make up` ends with: a real task for every queue, and where everything is."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from acceptance.playbook import Playbooks
from consoles import deployed
from hosts import Fleet

SMOKE = "ansible/playbooks/smoke.yml"


@pytest.fixture(scope="module")
def summary(playbooks: Playbooks) -> str:
    playbooks.converged_to()
    run = playbooks.run(SMOKE)
    (told,) = {str(step.result["msg"]) for step in run.steps if step.task == "Show the fleet"}
    return told


def test_a_task_of_every_queue_has_run(summary: str) -> None:
    done, wanted = re.findall(r"(\d+) of (\d+) succeeded", summary)[-1]
    assert done == wanted
    assert int(done) > 0


def test_every_service_is_up(summary: str, fleet: Fleet) -> None:
    states = re.findall(r"(\S+\.service) +(\w+) \((\w+)\)", summary)
    assert {"redis-server.service", "celery-beat.service", "nginx.service"} <= {unit for unit, _, _ in states}
    assert {(state, what) for unit, state, what in states if unit.startswith("celery-worker@")} == {
        ("active", "running")
    }
    assert {state for _, state, _ in states} <= {"active", "inactive"}, "none has failed"
    assert all(name in summary for name in fleet.names)


def test_each_address_answers(summary: str, fleet: Fleet) -> None:
    """Those that are reached from here: what is on loopback alone names its host."""
    trust = ssl.create_default_context()
    for file in deployed(fleet).trusted:
        if file.exists():
            trust.load_verify_locations(file)
    urls = re.findall(r"(https?://\S+)$", summary, re.MULTILINE)
    assert len(urls) >= 2, summary
    # Flower and Prometheus ask for a password.
    assert {url: status(url, trust) for url in urls}.items() <= {
        (url, code) for url in urls for code in (200, 401)
    }


def status(url: str, trust: ssl.SSLContext) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20, context=trust) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_each_key_is_where_it_says(summary: str) -> None:
    files = re.findall(r"cat (\S+)", summary)
    assert len(files) >= 3
    assert all(Path(file).expanduser().read_text().strip() for file in files)
