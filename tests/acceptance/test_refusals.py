"""What cannot work is refused before anything changes, with words that help."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from acceptance import units
from acceptance.playbook import ALL, Overrides, Playbooks, Run
from hosts import Fleet

UNROUTABLE = "192.0.2.1"
"""An address that is nobody's (RFC 5737): who connects to a host finds out."""

HOST = "worker1"

UBUNTU = (
    'NAME="Ubuntu"\\nID=ubuntu\\nID_LIKE=debian\\nVERSION_ID="24.04"\\n'
    'VERSION="24.04 LTS (Noble)"\\nPRETTY_NAME="Ubuntu 24.04"\\n'
)
"""An /etc/os-release, for printf."""


@pytest.fixture(scope="module")
def refused(playbooks: Playbooks) -> Run:
    """A run with many mistakes at once, against hosts that cannot be reached."""
    queues = playbooks.value(HOST, "celery_queues")
    queues["email"]["priority"] = 11
    queues["reports"]["soft_time_limit"] = "20m"
    queues["orphan"] = {}
    queues["cleanup"]["time_limt"] = "1h"
    pools = playbooks.value(HOST, "celery_worker_pools")
    pools["cpu"]["queues"] = ["cpu_intensiv"]
    pools["cpu"]["memory_per_child"] = "256 potatoes"
    pools["bad name"] = {"queues": ["default"]}
    overrides: Overrides = {
        ALL: {"celery_queues": queues, "ansible_host": UNROUTABLE},
        HOST: {"celery_worker_pools": pools},
    }
    return playbooks.run("site.yml", overrides=overrides, fails=True)


MISTAKES = [
    ("celery_queues.email.priority", "11"),
    ("celery_queues.reports.soft_time_limit", "20m"),
    ("celery_queues.orphan", "no pool consumes"),
    ("celery_queues.cleanup.time_limt", "time_limit"),
    ("celery_worker_pools.cpu.queues[0]", "cpu_intensive"),
    ("celery_worker_pools.cpu.memory_per_child", "256 potatoes"),
    ("celery_worker_pools['bad name']", "name of a pool"),
]


class TestBadInventory:
    @pytest.mark.parametrize(("key", "word"), MISTAKES, ids=[key for key, _ in MISTAKES])
    def test_the_message_names_file_line_key_and_remedy(self, refused: Run, key: str, word: str) -> None:
        line = rf"^- (?P<file>.+/overrides/host_vars/\w+\.yml):\d+: {re.escape(key)}(?: on worker1)?: (?P<told>.+)$"
        found = re.search(line, refused.messages, re.MULTILINE)
        assert found, refused.messages
        what, remedy = found["told"].split(" Remedy: ")
        assert word in what + remedy
        assert remedy

    def test_no_host_is_touched(self, refused: Run) -> None:
        assert "no host was touched" in refused.messages
        assert [step.task for step in refused.steps] == ["Check every variable of the fleet"]
        assert refused.changed == {}
        assert not any(counts["unreachable"] for counts in refused.stats.values())


def test_a_second_beat_is_refused(playbooks: Playbooks) -> None:
    run = playbooks.run(
        "site.yml",
        overrides={ALL: {"ansible_host": UNROUTABLE}},
        groups={"beat": ["monitor1", HOST]},
        fails=True,
    )
    assert "beat" in run.messages
    assert "Remedy: " in run.messages
    assert [step.task for step in run.steps] == ["Check every variable of the fleet"]


def test_a_plan_that_does_not_fit_is_refused_with_a_table(playbooks: Playbooks, fleet: Fleet) -> None:
    pools = copy.deepcopy(playbooks.value(HOST, "celery_worker_pools"))
    pools["cpu"]["memory_per_child"] = "64G"
    before = units.main_pids(fleet)
    run = playbooks.run("site.yml", overrides={HOST: {"celery_worker_pools": pools}}, fails=True)
    assert "Nothing was changed" in run.messages
    table = run.messages.splitlines()
    for row in ("default", "cpu", "reserve", "memory"):
        assert any(row in line and re.search(r"\d", line) for line in table), (
            f"no row of {row}:\n{run.messages}"
        )
    assert run.changed == {}
    assert {step.task for step in run.steps if step.failed} == {"Plan concurrency and memory"}
    assert run.steps[-1].task == "Plan concurrency and memory", "it goes on after the refusal"
    assert units.replaced(before, units.main_pids(fleet)) == set()


@pytest.fixture
def other_distribution(fleet: Fleet, tmp_path: Any) -> Iterator[str]:
    """A host that says it runs something else; for the time of a test."""
    host = fleet.host(HOST)
    host.check_output(f"printf '{UBUNTU}' > /run/other-release")
    real = host.check_output("readlink -f /etc/os-release")
    host.check_output(f"mount --bind /run/other-release {real}")
    yield HOST
    host.check_output(f"umount {real}; rm /run/other-release")


def test_another_distribution_is_refused(playbooks: Playbooks, other_distribution: str) -> None:
    run = playbooks.run("site.yml", fails=True)
    assert f"{other_distribution} runs Ubuntu 24; celery-fleet supports Debian 12 and 13" in run.messages
    assert run.changed == {}
