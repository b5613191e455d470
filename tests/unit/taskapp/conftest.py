"""Each test has a state directory of its own, and no other TASKAPP_ setting."""

import os
from pathlib import Path

import pytest

from taskapp.settings import PREFIX
from taskapp.store import Store, current_store


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TASKAPP_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def store(state_dir: Path) -> Store:
    return current_store()
