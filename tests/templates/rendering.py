"""Renders a role's templates with Ansible's own engine, in milliseconds and without a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from engine import load_plugins

ROLES = Path(__file__).resolve().parents[2] / "ansible" / "roles"

load_plugins()


def trusted(value: Any) -> Any:
    """The value with every string in it marked as a template, as if it came from a role's file."""
    if isinstance(value, Mapping):
        return {trusted(key): trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def role_variables(*roles: str) -> dict[str, Any]:
    """Defaults and variables of roles, as a play that runs these roles sees them."""
    variables: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        for role in roles:
            path = ROLES / role / folder / "main.yml"
            if path.exists():
                variables |= trusted(yaml.safe_load(path.read_text()) or {})
    return variables


def templar(variables: Mapping[str, Any]) -> Templar:
    return Templar(loader=DataLoader(), variables={"ansible_managed": "Managed by Ansible", **variables})


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """The value of a Jinja expression."""
    return templar(variables).template(trust_as_template("{{ " + expression + " }}"))


def render(role: str, template: str, variables: Mapping[str, Any]) -> str:
    """The text of a role's template."""
    path = ROLES / role / "templates" / template
    engine = templar(variables).copy_with_new_env(searchpath=[str(path.parent)])
    text = trust_as_template(path.read_text())
    blocks = {"trim_blocks": True, "lstrip_blocks": True}
    return str(engine.template(text, escape_backslashes=False, overrides=blocks))
