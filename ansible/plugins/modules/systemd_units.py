#!/usr/bin/python
"""Bring systemd units to their state, and restart those that run old configuration."""

from __future__ import annotations

import datetime
import fnmatch
import glob
import os
import re
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: systemd_units
short_description: Enable, start, stop, restart and prune units by their state
description:
  - A unit that started before one of the files it reads was written runs old configuration, and is restarted. The files are
    its unit file, drop-ins, environment files, and C(restart_on). Nothing is remembered between runs, so a run that failed
    half way never loses a restart.
options:
  units:
    description: >-
      Units, each with C(name), C(state) (started, stopped; default started), C(enabled) (default true),
      C(restart_on) and C(reload_on) (paths; links count by their own time), C(restart) (an earlier step found that what runs
      is not what should run), C(stays_up) (default true; false: what it needs may be away, it may be between two attempts).
      A template like C(a@.service) stands for its
      C(instances).
    type: list
    required: true
  prune:
    description: Glob patterns of unit names. What is loaded or enabled, matches and is not in C(units) is stopped and disabled.
    type: list
    default: []
  pending:
    description: Files that an earlier step of a check-mode run would have written. Ignored otherwise.
    type: list
    default: []
"""

PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "DropInPaths", "EnvironmentFiles",
    "ExecMainStartTimestamp", "ActiveEnterTimestamp", "StateChangeTimestamp", "NeedDaemonReload", "NRestarts", "Type",
)  # fmt: skip
RESTARTED_KINDS = (".service", ".socket", ".timer")  # restarting a slice or a target would stop what is in it


def parse_time(text: str) -> float | None:
    """Seconds since the epoch from systemd's `us+utc` time stamps; None when it never happened."""
    if not text or text == "n/a":
        return None
    stamp = re.sub(r"^\S+ ", "", text).removesuffix(" UTC")
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in stamp else "%Y-%m-%d %H:%M:%S"
    return datetime.datetime.strptime(stamp, form).replace(tzinfo=datetime.UTC).timestamp()


def parse_show(output: str) -> dict[str, dict[str, str]]:
    """`systemctl show` of several units: one block a unit, properties that repeat are joined by spaces."""
    units: dict[str, dict[str, str]] = {}
    for block in output.strip().split("\n\n"):
        unit: dict[str, str] = {}
        for line in block.splitlines():
            key, _, value = line.partition("=")
            unit[key] = f"{unit[key]} {value}" if key in unit else value
        if unit.get("Id"):
            units[unit["Id"]] = unit
    return units


def newest(paths: list[str]) -> float:
    """Latest modification among the paths that exist; a link counts by its own time."""
    times = []
    for path in paths:
        try:
            times.append(os.lstat(path).st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)


def inputs(unit: dict[str, str]) -> list[str]:
    """The files that systemd itself reads for a unit."""
    environment = re.findall(r"(/\S+) \(ignore_errors=\w+\)", unit.get("EnvironmentFiles", ""))
    return [
        p for p in [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split(), *environment] if p
    ]


class Manager:
    """systemctl, and what this run did with it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.actions: list[dict[str, str]] = []
        self.reloaded = False

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        code, out, err = self.module.run_command(["systemctl", "--no-pager", *arguments])
        if code and check:
            self.module.fail_json(msg=f"systemctl {' '.join(arguments)} failed: {(err or out).strip()}")
        return out

    def show(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        out = self.systemctl("show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", "--", *names)
        return parse_show(out)

    def note(self, action: str, names: list[str]) -> None:
        self.actions += [{"unit": name, "action": action} for name in names]

    def daemon_reload(self) -> None:
        if not self.module.check_mode:
            self.systemctl("daemon-reload")

    def run(self, action: str, names: list[str]) -> None:
        """One systemctl call for all units of one action, so that they start beside each other."""
        if not names:
            return
        self.note(action, names)
        if self.module.check_mode:
            return
        code, out, err = self.module.run_command(["systemctl", "--no-pager", action, "--", *names])
        if code:
            self.explain(f"systemctl {action} {' '.join(names)} failed: {(err or out).strip()}", names)

    def see_them_stay_up(self, names: list[str]) -> None:
        """A unit of Type=simple counts as started before it has read its configuration: look again a moment later."""
        before = self.show(names)
        time.sleep(1)
        after = self.show(names)
        bad = [
            name
            for name, unit in after.items()
            if unit["Type"] != "oneshot"
            and (unit["ActiveState"] != "active" or unit.get("NRestarts") != before[name].get("NRestarts"))
        ]
        if bad:
            self.explain(f"did not stay up: {', '.join(bad)}", bad)

    def explain(self, message: str, names: list[str]) -> None:
        """Fail with what an operator would look at next: each bad unit's state and its last lines."""
        parts = [message]
        for name, unit in self.show(names).items():
            if unit["ActiveState"] == "active" and unit.get("NRestarts") == "0":
                continue
            _, log, _ = self.module.run_command(
                ["journalctl", "--no-pager", "-n", "30", "-o", "cat", "-u", name]
            )
            parts.append(
                f"--- {name}: {unit['ActiveState']} ({unit['SubState']}), last lines of its journal:\n{log.strip()}"
            )
        self.module.fail_json(msg="\n".join(parts), actions=self.actions)

    def strays(self, patterns: list[str], wanted: set[str]) -> list[str]:
        """Loaded or enabled units that match a pattern and are not wanted; templates themselves are not units."""
        if not patterns:
            return []
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend", "--", *patterns).splitlines()
        names = {line.split()[0] for line in listed if line.split()}
        for pattern in patterns:
            names |= {
                os.path.basename(link)
                for link in glob.glob(f"/etc/systemd/system/*.*/{pattern}")
                if os.path.islink(link)
            }
        return sorted(
            n for n in names - wanted if any(fnmatch.fnmatch(n, p) for p in patterns) and "@." not in n
        )

    def prune(self, patterns: list[str], wanted: set[str]) -> None:
        names = self.strays(patterns, wanted)
        if not names:
            return
        self.note("remove", names)
        if not self.module.check_mode:
            # Stopped first: disabling reloads systemd, which would forget a stop time whose drop-in is gone already.
            self.systemctl("stop", "--", *names)
            self.systemctl("disable", "--", *names)
            self.systemctl("reset-failed", "--", *names, check=False)


def expand(units: list[dict]) -> list[dict]:
    """Units with each template replaced by its instances."""
    names = (
        (
            u,
            [u["name"].replace("@.", f"@{i}.") for i in u["instances"]]
            if u["instances"] is not None
            else [u["name"]],
        )
        for u in units
    )
    return [{**unit, "name": name} for unit, all_names in names for name in all_names]


def decide(wanted: dict, unit: dict[str, str], pending: list[str]) -> str | None:
    """The action that a unit needs: start, stop, restart, reload or None."""
    active = unit.get("ActiveState") in ("active", "activating", "reloading")
    if wanted["state"] == "stopped":
        return "stop" if active else None
    # Between two attempts of a unit that keeps ending, nothing runs.
    if not active or unit.get("SubState") == "auto-restart":
        return "start"
    return out_of_date(wanted, unit, pending) if wanted["name"].endswith(RESTARTED_KINDS) else None


def drop_in_places(name: str, root: str = "/etc/systemd/system") -> tuple[str, str]:
    """The directories of a unit's drop-ins: its own, and its template's."""
    return f"{root}/{name}.d/", f"{root}/{re.sub('@.*', '@', name)}.service.d/"


def overlooked(places: tuple[str, ...], unit: dict[str, str]) -> bool:
    """Whether a unit was loaded without one of its drop-ins.

    systemd 252 does not notice a directory of drop-ins that came later, and says that nothing has to be loaded again.
    """
    known = {os.path.basename(path) for path in unit.get("DropInPaths", "").split()}
    there = {os.path.basename(path) for place in places for path in glob.glob(f"{place}*.conf")}
    return not there <= known


def out_of_date(wanted: dict, unit: dict[str, str], pending: list[str]) -> str | None:
    """Restart or reload when a running unit is older than what it reads; None when it is not."""
    name = wanted["name"]
    reads = [*inputs(unit), *wanted["restart_on"]]
    drop_ins = drop_in_places(name)
    started = parse_time(unit.get("ExecMainStartTimestamp", "")) or parse_time(
        unit.get("ActiveEnterTimestamp", "")
    )
    settled = parse_time(unit.get("StateChangeTimestamp", "")) or started

    def written_since(moment: float | None, paths: list[str]) -> bool:
        return any(path in pending for path in paths) or bool(moment and newest(paths) > moment)

    if (
        wanted["restart"]
        or any(path.startswith(drop_ins) for path in pending)
        or written_since(started, reads)
    ):
        return "restart"
    return "reload" if written_since(settled, wanted["reload_on"]) else None


def main() -> None:
    spec = {
        "name": {"type": "str", "required": True},
        "instances": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "enabled": {"type": "bool", "default": True},
        "restart": {"type": "bool", "default": False},
        "stays_up": {"type": "bool", "default": True},
        "restart_on": {"type": "list", "elements": "str", "default": []},
        "reload_on": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "options": spec, "required": True},
            "prune": {"type": "list", "elements": "str", "default": []},
            "pending": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = {unit["name"]: unit for unit in expand(module.params["units"])}
    pending = module.params["pending"] if module.check_mode else []
    manager = Manager(module)
    manager.prune(module.params["prune"], set(wanted))

    state = manager.show(list(wanted))
    incomplete = [name for name in wanted if overlooked(drop_in_places(name), state.get(name, {}))]
    for name in incomplete:
        wanted[name]["restart"] = True
    if incomplete or any(
        unit.get("NeedDaemonReload") == "yes" or unit.get("LoadState") == "not-found"
        for unit in state.values()
    ):
        manager.daemon_reload()
        state = manager.show(list(wanted))
    missing = [name for name in wanted if state.get(name, {}).get("LoadState") == "not-found"]
    if missing and not module.check_mode:
        module.fail_json(
            msg=f"no unit file for {', '.join(missing)}: the step that writes or installs it has to run first"
        )

    enable = [
        n for n, w in wanted.items() if w["enabled"] and state[n].get("UnitFileState") in ("disabled", "")
    ]
    disable = [
        n for n, w in wanted.items() if not w["enabled"] and state[n].get("UnitFileState") == "enabled"
    ]
    manager.run("enable", enable)
    manager.run("disable", disable)

    actions = {name: decide(unit, state[name], pending) for name, unit in wanted.items()}
    for action in ("stop", "restart", "start", "reload"):
        manager.run(action, [name for name, what in actions.items() if what == action])

    started = [
        n
        for n, what in actions.items()
        if what in ("start", "restart") and n.endswith(".service") and wanted[n]["stays_up"]
    ]
    if started and not module.check_mode:
        manager.see_them_stay_up(started)
    module.exit_json(changed=bool(manager.actions), actions=manager.actions)


if __name__ == "__main__":
    main()
