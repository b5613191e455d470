"""Loads the project's Ansible modules by path, as Python modules."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PLUGINS = Path(__file__).resolve().parents[3] / "ansible" / "plugins"


def load(name: str, kind: str = "modules") -> ModuleType:
    """The module `ansible/plugins/<kind>/<name>.py`."""
    spec = importlib.util.spec_from_file_location(f"fleet_{kind}_{name}", PLUGINS / kind / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module as Ansible does, on this machine, and return its answer."""
    arguments |= {"_ansible_check_mode": check, "_ansible_diff": True}
    process = subprocess.run(
        [sys.executable, str(PLUGINS / "modules" / f"{name}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = (
        json.loads(process.stdout.splitlines()[-1])
        if process.stdout
        else {"failed": True, "msg": process.stderr}
    )
    return answer
