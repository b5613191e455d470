"""Each alert has its section in the runbook, where its link leads, and each block of commands says where it runs."""

from __future__ import annotations

import yaml

from unit.docs.runbook import PLACES, ROOT, blocks, sections


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    alerts = yaml.safe_load((ROOT / "ansible" / "roles" / "monitoring" / "files" / "alerts.yml").read_text())
    assert sorted(sections()) == sorted(alerts)


def test_each_section_has_a_block_that_says_where_it_runs() -> None:
    assert {block.alert for block in blocks()} == {*sections()}
    assert not {block.place for block in blocks()} - PLACES.keys()
    assert all(block.commands.strip() for block in blocks())
