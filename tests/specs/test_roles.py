"""Every role has one shape, and its defaults are the defaults that its argument_specs documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from celery_fleet.topology import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "ansible" / "roles").iterdir() if path.is_dir())
SHAPE = [
    "README.md",
    "defaults/main.yml",
    "meta/main.yml",
    "meta/argument_specs.yml",
    "tasks/main.yml",
    "tasks/install.yml",
]
STEPS = {"Install", "Configure", "Run", "Switch", "Prove", "Remove what is no longer wanted"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_there_are_roles() -> None:
    wanted = {"base", "redis", "celery", "release", "celery_worker", "celery_beat", "monitoring"}
    assert wanted | {"console", "flower", "edge"} <= {r.name for r in ROLES}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_has_the_shape(self, role: Path) -> None:
        optional = {"celery_worker": {"tasks/install.yml"}}.get(role.name, set())
        missing = [name for name in SHAPE if name not in optional and not (role / name).exists()]
        assert not missing
        assert not (role / "handlers").exists(), "restarts follow from state, not from handlers"

    def test_main_is_a_table_of_contents(self, role: Path) -> None:
        steps = load(role / "tasks" / "main.yml")
        assert all(
            {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks"} & set(step) for step in steps
        )
        assert {step["name"] for step in steps} <= STEPS

    def test_defaults_are_the_documented_ones(self, role: Path) -> None:
        defaults = load(role / "defaults" / "main.yml")
        options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
        documented = {name: spec["default"] for name, spec in options.items() if "default" in spec}
        assert set(defaults) <= set(options), "every default is documented"
        computed = {
            n
            for n, value in defaults.items()
            if isinstance(value, str) and "{{" in value and n not in documented
        }
        assert {n: v for n, v in defaults.items() if n not in computed} == documented

    def test_variables_begin_with_the_name_of_the_role(self, role: Path) -> None:
        options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
        assert not [name for name in options if not name.startswith(f"{role.name}_")]

    def test_every_option_says_what_it_is(self, role: Path) -> None:
        for entry in load(role / "meta" / "argument_specs.yml")["argument_specs"].values():
            assert not [
                name
                for name, spec in entry["options"].items()
                if not spec.get("description") or not spec.get("type")
            ]

    def test_readme_names_every_variable(self, role: Path) -> None:
        text = (role / "README.md").read_text()
        assert not [name for name in load(role / "defaults" / "main.yml") if f"`{name}`" not in text]


def test_the_plan_and_the_roles_have_the_same_defaults() -> None:
    roles: dict[str, Any] = {}
    for name in ("celery", "celery_worker", "redis"):
        roles |= load(ROOT / "ansible" / "roles" / name / "defaults" / "main.yml")
    shared = {name: value for name, value in DEFAULTS.items() if name in roles}
    assert shared.keys() >= {"celery_queues", "celery_worker_pools", "celery_time_limit", "redis_maxmemory"}
    assert {name: roles[name] for name in shared} == shared
