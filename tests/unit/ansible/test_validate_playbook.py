"""validate.yml on whole inventories: what Ansible adds to the checks is where each value was written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GROUPS = "children: {redis: {hosts: {web1: }}, workers: {hosts: {web1: }}}"


def validated(tmp_path: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """validate.yml with an inventory of one host that has these variables, each on a line of its own from line 4 on."""
    inventory = tmp_path / "hosts.yml"
    lines = ["all:", "  hosts:", "    web1:", *(f"      {line}" for line in variables), f"  {GROUPS}"]
    inventory.write_text("\n".join(lines) + "\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [str(program), "-i", str(inventory), "ansible/playbooks/validate.yml"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_host_may_have_a_queue_of_its_own_and_nothing_else(tmp_path: Path) -> None:
    """P1"""
    run = validated(tmp_path, "celery_host_queue: true", "celery_worker_pools: {default: {queues: [celery]}}")
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            ["celery_host_queue: true", "celery_queues: {celery: , web1: }"],
            "hosts.yml:4: celery_host_queue on web1: the queue 'web1' is in celery_queues, too",
        ),
        (
            ["celery_host_queue:", "  queue:", "    priority: 11"],
            "hosts.yml:6: celery_host_queue.queue.priority on web1: 11 is not a priority",
        ),
        (
            ['celery_app: "shop:app"'],
            "hosts.yml:4: celery_app: celery_app_source is not set, where this app would come from",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, variables: list[str], told: str) -> None:
    run = validated(tmp_path, *variables)
    assert run.returncode != 0
    assert f"{tmp_path}/{told}" in run.stdout
    assert "no host was touched" in run.stdout
