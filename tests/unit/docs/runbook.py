"""Reads docs/runbook.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLACES = {
    "# on a host with workers": "workers",
    "# on the host of Redis": "redis",
    "# on the host of Prometheus": "monitoring",
    "# on the host of Beat": "beat",
    "# on the host that the alert names": "all",
}
"""The first line of a block -> the group of hosts on which it runs."""


@dataclass(frozen=True)
class Block:
    """Commands of the section of an alert."""

    alert: str
    place: str
    commands: str


def sections() -> list[str]:
    text = (ROOT / "docs" / "runbook.md").read_text()
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def blocks() -> list[Block]:
    text = (ROOT / "docs" / "runbook.md").read_text()
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            place, _, commands = block.partition("\n")
            found.append(Block(section.partition("\n")[0], place, commands))
    return found
