"""Memory of main and children."""

import gc

import pytest

from celery_fleet.service import memory


@pytest.mark.parametrize(("before", "after"), [("0", "300"), ("900", "1000"), ("-500", "-200")])
def test_a_child_is_killed_first(tmp_path, before, after):
    path = tmp_path / "oom_score_adj"
    path.write_text(f"{before}\n")
    memory.prefer_for_oom_kill(path)
    assert path.read_text() == after


def test_a_system_without_it_is_no_error(tmp_path):
    memory.prefer_for_oom_kill(tmp_path / "nowhere" / "oom_score_adj")


def test_what_is_loaded_is_frozen_once(monkeypatch):
    monkeypatch.setattr(memory, "_frozen", False)
    try:
        memory.freeze()
        frozen = gc.get_freeze_count()
        assert frozen > 1000
        kept = [[] for _ in range(1000)]
        memory.freeze()
        assert gc.get_freeze_count() <= frozen
        assert kept
    finally:
        gc.unfreeze()
