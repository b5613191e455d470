"""Every alert leads to a section of the runbook, and every command there says where it is run."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = yaml.safe_load((ROOT / "ansible/roles/monitoring/files/alerts.yml").read_text())
PLACES = {
    "on a host with workers",
    "on the host of Redis",
    "on the host of Prometheus",
    "on the host of Beat",
    "on the host that the alert names",
}


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    assert re.findall(r"^## (\w+)$", TEXT, re.MULTILINE) == list(ALERTS)


def test_each_section_says_what_it_costs_what_to_look_at_and_what_to_do() -> None:
    for section in TEXT.split("\n## ")[1:]:
        assert "**Impact.**" in section
        assert "**Do.**" in section
        (block,) = re.findall(r"```sh\n# (.+)\n((?:.+\n)+)```", section)
        assert block[0] in PLACES, section
