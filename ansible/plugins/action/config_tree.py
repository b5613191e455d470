"""Controller side of config_tree: renders the templates and sends the whole tree in one piece."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible._internal._templating import _template_vars
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

KEYS = {
    "dest", "template", "content", "directory", "link", "owner", "group", "mode", "validate", "secret", "each",
}  # fmt: skip
SOURCES = ("template", "content", "directory", "link")


class ActionModule(ActionBase):
    """Entries as the module's documentation gives them; `template` is looked up in the role's templates/."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        files = [
            self._entry(one, variables)
            for entry in self._task.args.get("files") or []
            for one, variables in self._expand(entry, task_vars)
        ]
        doubled = {f["dest"] for f in files if [g["dest"] for g in files].count(f["dest"]) > 1}
        if doubled:
            raise AnsibleActionFail(f"config_tree: written twice: {', '.join(sorted(doubled))}")
        payload = base64.b64encode(zlib.compress(json.dumps(files).encode())).decode()
        result = self._execute_module(
            module_name="config_tree",
            module_args={"payload": payload, "prune": self._task.args.get("prune") or []},
            task_vars=task_vars,
        )
        result.pop("invocation", None)
        return result

    def _expand(
        self, entry: Mapping[str, Any], task_vars: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """One entry for each item of the mapping `each`: `%i` in dest is the key, the template sees `item.key`, `item.value`."""
        if "each" not in entry:
            yield dict(entry), task_vars
            return
        for key, value in entry["each"].items():
            one = {name: what for name, what in entry.items() if name != "each"}
            one["dest"] = str(entry["dest"]).replace("%i", str(key))
            yield one, {**task_vars, "item": {"key": key, "value": value}}

    def _entry(self, entry: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        unknown = set(entry) - KEYS
        if unknown or "dest" not in entry:
            raise AnsibleActionFail(
                f"config_tree: {entry.get('dest', entry)}: unknown keys {sorted(unknown)} or no dest"
            )
        if sum(1 for source in SOURCES if entry.get(source) is not None) != 1:
            raise AnsibleActionFail(f"config_tree: {entry['dest']}: give exactly one of {', '.join(SOURCES)}")
        plain = {key: value for key, value in entry.items() if key != "template"}
        if entry.get("template"):
            plain["content"] = self._render(entry, task_vars)
        return plain

    def _render(self, entry: Mapping[str, Any], task_vars: dict[str, Any]) -> str:
        source = self._find_needle("templates", entry["template"])
        variables = dict(task_vars)
        variables.update(
            _template_vars.generate_ansible_template_vars(
                path=entry["template"],
                fullpath=source,
                dest_path=entry["dest"],
                include_ansible_managed="ansible_managed" not in variables,
            )
        )
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(source).parent)], available_variables=variables
        )
        text = trust_as_template(self._loader.get_text_file_contents(source))
        rendered = templar.template(
            text, escape_backslashes=False, overrides={"trim_blocks": True, "lstrip_blocks": True}
        )
        return str(rendered or "")
