"""Every command of the runbook, and of the alerts themselves, is run on a real host, and works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hosts import Fleet
from monitors import prometheus_of

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


PLACES = {**GROUPS, "on the host of Prometheus, as root": "monitoring"}
ALERTS_OF = {"Redis": "redis", "ProbeFailed": "console"}
"""Groups of those that name their host by a label, by how they begin; else they are the workers."""
LABEL = re.compile(r"{{ (reReplaceAll .+? )?\$labels\.(\w+) }}")


def test_the_commands_of_the_alerts_work(fleet: Fleet) -> None:
    """What an alert tells whoever it wakes: with the labels of this fleet in it."""
    rules = [
        rule for group in prometheus_of(fleet).get("rules?type=alert")["groups"] for rule in group["rules"]
    ]
    commands = {(rule["name"], rule["annotations"]["command"]) for rule in rules}
    assert commands
    refused = [failure for name, text in sorted(commands) if (failure := tried(fleet, name, text))]
    assert not refused, "\n".join(refused)


def tried(fleet: Fleet, name: str, text: str) -> str:
    """What does not work of an alert's command."""
    command, _, place = text.partition("  # ")
    named = next((group for begin, group in ALERTS_OF.items() if name.startswith(begin)), "workers")
    host = fleet.groups[PLACES.get(place, named)][0]
    worker = fleet.groups["workers"][0]
    pool = next(iter(fleet.pools(worker)))
    values = {
        "instance": host,
        "mountpoint": "/",
        "name": "celery-worker.slice",
        "path": str(fleet.host(host).check_output("ls /etc/ssl/certs/*.pem | head -1")),
        "queue_name": "default",
        "worker": f"{pool}@{worker}",
    }
    # Of a worker's name, the alerts take the host away where a unit is named.
    command = LABEL.sub(lambda label: pool if label[1] else values[label[2]], command)
    for part in command.split("; "):
        answer = fleet.host(host).run(part)
        allowed = ANSWERS if part.startswith("systemctl status") else {0}
        if answer.rc not in allowed or "NOAUTH" in answer.stdout or "{{" in part:
            return f"{name}: {part}, on {host}: {answer.rc}\n{answer.stdout[:500]}{answer.stderr}"
    return ""
