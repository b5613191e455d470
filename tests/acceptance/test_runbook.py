"""Every command of the runbook is run on a real host, and works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hosts import Fleet

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"## (\w+)\n.*?```sh\n# (.+?)\n(.+?)```", (ROOT / "docs" / "runbook.md").read_text(), re.DOTALL
)

GROUPS = {
    "on a host with workers": "workers",
    "on the host of Redis": "redis",
    "on the host of Prometheus": "monitoring",
    "on the host of Beat": "beat",
    "on the host that the alert names": "workers",
}

ANSWERS = {0, 3}
"""3: `systemctl status` of a unit that does not run here; `systemctl` says so in words, which is what one wants to know."""


@pytest.mark.parametrize(("name", "place", "commands"), BLOCKS, ids=[name for name, _, _ in BLOCKS])
def test_the_commands_of_the_section_work(fleet: Fleet, name: str, place: str, commands: str) -> None:
    host = fleet.host(fleet.groups[GROUPS[place]][0])
    for command in commands.strip().splitlines():
        answer = host.run(command)
        allowed = ANSWERS if command.startswith("systemctl status") else {0}
        assert answer.rc in allowed, f"{name}: {command}\n{answer.stdout}{answer.stderr}"
        assert answer.stdout or "grep" not in command
