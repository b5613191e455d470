"""The short form of `make audit`, on a fleet with TLS: it looks everywhere, finds nothing wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosts import Fleet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(fleet: Fleet) -> list[dict[str, str]]:
    if not fleet.variables(fleet.names[0]).get("celery_tls"):
        pytest.skip("once is enough: molecule/single has TLS to look at, too")
    command = [sys.executable, str(ROOT / "tests" / "audit"), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert run.returncode == 0, run.stdout + run.stderr
    found: list[dict[str, str]] = json.loads((ROOT / "build" / "audit" / "report.json").read_text())[
        "findings"
    ]
    return found


def test_nothing_is_wrong(report: list[dict[str, str]]) -> None:
    assert len(report) > 10
    assert {finding["verdict"] for finding in report} <= {"ok", "note"}


def test_nothing_is_left_behind(report: list[dict[str, str]], fleet: Fleet) -> None:
    assert report
    for name in fleet.names:
        assert fleet.host(name).run("ls -d /var/tmp/celery-audit*").stdout == ""
        assert not fleet.host(name).package("lynis").is_installed
