"""Ansible runs of the real playbooks against the testbed, with an inventory that differs in a few values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetsecrets import secrets_of, told
from hosts import Fleet

ROOT = Path(__file__).resolve().parents[2]

Settings = Mapping[str, Any]
Overrides = Mapping[str, Settings]
"""Host names, or ALL, and the variables that are different there."""

ALL = "all"

ROTATE, ROTATE_FINISH = "ansible/playbooks/rotate.yml", "ansible/playbooks/rotate_finish.yml"

REFUSALS = {
    "Check every variable of the fleet",
    "Plan concurrency and memory",
    "tracing : Ask for the checksum",
    "tracing : Download the archive",
    "tracing : Say what went wrong",
}
"""The tasks before which, and by which, nothing is changed."""


@dataclass(frozen=True)
class Step:
    """What one task of a playbook did on one host."""

    task: str
    host: str
    result: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed") or self.result.get("unreachable"))


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook and all that it told."""

    command: str
    code: int
    output: str
    stats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    steps: Sequence[Step] = ()

    @property
    def changed(self) -> dict[str, list[str]]:
        """The tasks that changed something, by host; hosts without any are left out."""
        found: dict[str, list[str]] = {}
        for step in self.steps:
            if step.result.get("changed") and not step.result.get("skipped"):
                found.setdefault(step.host, []).append(step.task)
        return found

    @property
    def files(self) -> dict[str, set[str]]:
        """The files that were written or removed, or would be, by host."""
        return self._gathered("changed_files", str)

    @property
    def actions(self) -> dict[str, set[tuple[str, str]]]:
        """What was done to units, or would be: (unit, action), by host."""
        return self._gathered("actions", lambda action: (action["unit"], action["action"]))

    @property
    def refused(self) -> bool:
        """Whether it ended before it could change anything."""
        failed = {step.task for step in self.steps if step.failed}
        return bool(failed) and failed <= REFUSALS

    @property
    def messages(self) -> str:
        """Why it failed: each failed step's own words."""
        return "\n".join(
            f"{step.host}: {step.task}: {step.result.get('msg') or step.result}"
            for step in self.steps
            if step.failed
        )

    def __str__(self) -> str:
        return f"{self.command}\nexit code {self.code}\n{self.messages or self.output[-4000:]}"

    def _gathered(self, key: str, form: Any) -> dict[str, set[Any]]:
        found: dict[str, set[Any]] = {}
        for step in self.steps:
            if items := step.result.get(key):
                found.setdefault(step.host, set()).update(map(form, items))
        return found


class Playbooks:
    """Runs playbooks against the testbed, and remembers which inventory it was last brought to.

    A test that needs a fleet of other values asks `converged_to` for it. Two tests that need the same share the run.
    Nobody has to clean up behind itself: the next one that needs something else converges to that. When the same inventory
    was converged to before, and only some hosts since then to another, these alone are brought back.
    """

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.directory = directory
        self._whole: tuple[Any, ...] | None = _key({}, {})
        self._apart: set[str] = set()  # the hosts that have left it since

    def value(self, host: str, name: str) -> Any:
        """A copy of what the inventory says, to be changed and given as an override."""
        return json.loads(json.dumps(self.fleet.variables(host)[name]))  # without Ansible's own types

    def converged_to(
        self, overrides: Overrides | None = None, groups: Mapping[str, Sequence[str]] | None = None
    ) -> Run | None:
        """The whole fleet as this inventory says; no run, and None, when it is known to be so already."""
        apart = sorted(self._apart)
        if self._whole != _key(overrides or {}, groups or {}):
            return self.run(overrides=overrides, groups=groups)
        if not apart:
            return None
        run = self.run("site.yml", f"--limit={','.join(apart)}", overrides=overrides, groups=groups)
        self._apart.clear()
        return run

    def run(
        self,
        playbook: str = "site.yml",
        *options: str,
        overrides: Overrides | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        fails: bool = False,
    ) -> Run:
        """One run. The test fails, with Ansible's own words, when it fails (or, with `fails`, when it does not).

        overrides: values that replace the inventory's; the most specific place, so they always win.
        groups: hosts of a group, instead of those that the inventory gives it.
        """
        overrides, groups = overrides or {}, groups or {}
        before, self._whole = self._whole, None  # unknown, until it has ended
        run = self._run(playbook, options, self._sources(overrides, groups))
        limit = next((option.removeprefix("--limit=") for option in options if "--limit=" in option), "")
        if "--check" in options or run.refused or playbook == ROTATE_FINISH:
            self._whole = before
        elif limit and playbook == "site.yml":
            self._whole = before
            self._apart |= set(limit.split(","))
        elif playbook in ("site.yml", ROTATE) and not run.code:
            self._whole = _key(overrides, groups)
            self._apart.clear()
        if bool(run.code) != fails:
            pytest.fail(f"should have {'failed' if fails else 'succeeded'}: {run}", pytrace=False)
        return run

    def _run(self, playbook: str, options: Sequence[str], sources: Sequence[str]) -> Run:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        # As much as it can tell: no secret is in that, either.
        command = [program, "-vvv", *(f"--inventory={source}" for source in sources), *options, playbook]
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ANSIBLE_", "CELERY_"))
            },
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_NOCOLOR": "1",
        }
        process = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        output = process.stdout + process.stderr
        if leaked := told(secrets_of(self.fleet), output):
            pytest.fail(f"{' '.join(command)} tells secrets: {', '.join(leaked)}", pytrace=False)
        start = process.stdout.find('{\n    "custom_stats"')
        if start < 0:
            return Run(" ".join(command), process.returncode, output)
        document, _ = json.JSONDecoder().raw_decode(process.stdout, start)
        steps = [
            Step(task["task"]["name"], host, result)
            for play in document["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
        ]
        return Run(" ".join(command), process.returncode, output, document["stats"], steps)

    def _sources(self, overrides: Overrides, groups: Mapping[str, Sequence[str]]) -> list[str]:
        """The inventory's own sources, the first with other groups if so asked, and one more with the overrides."""
        directory = Path(tempfile.mkdtemp(prefix="inventory-", dir=self.directory))
        sources = [str(Path(source).resolve()) for source in self.fleet.sources]
        if groups:
            sources[0] = str(_regrouped(Path(sources[0]), directory / "regrouped", groups))
        own = directory / "overrides"
        (own / "host_vars").mkdir(parents=True)
        (own / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(self.fleet.names)}}))
        for host in self.fleet.names:
            settings = {**overrides.get(ALL, {}), **overrides.get(host, {})}
            if settings:
                text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=False)
                (own / "host_vars" / f"{host}.yml").write_text(f"---\n{text}")
        return [*sources, str(own)]


def _regrouped(source: Path, copy_to: Path, groups: Mapping[str, Sequence[str]]) -> Path:
    shutil.copytree(source, copy_to)
    hosts = copy_to / "hosts.yml"
    document = yaml.safe_load(hosts.read_text())
    for name, members in groups.items():
        document["all"]["children"][name] = {"hosts": dict.fromkeys(members)}
    hosts.write_text(yaml.safe_dump(document, sort_keys=False))
    return copy_to


def _key(overrides: Overrides, groups: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    return json.dumps(overrides, sort_keys=True), json.dumps(groups, sort_keys=True)
