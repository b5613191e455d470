"""The hosts of a benchmark: made, reached by Ansible and by ssh, removed."""

from __future__ import annotations

import configparser
import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "ansible" / "playbooks"


class BenchError(Exception):
    """Why there is nothing to measure; shown as it is."""


@dataclass(frozen=True)
class Step:
    """One task of a play. seconds: until the next one began, so that what lies between them is counted, too."""

    name: str
    seconds: float
    hosts: int


class Run:
    """What `ansible-playbook` did, from the JSON that its callback wrote."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def _tasks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for play in self._data["plays"]:
            for task in play["tasks"]:
                yield task["task"]["name"], task

    def results(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Task, host and result of everything that was not skipped."""
        for name, task in self._tasks():
            for host, result in task["hosts"].items():
                if not result.get("skipped"):
                    yield name, host, result

    def changed(self) -> list[str]:
        """`host: task` of everything that changed something."""
        return [f"{host}: {name}" for name, host, result in self.results() if result.get("changed")]

    def changed_files(self) -> dict[str, list[str]]:
        """The paths that each host's changes name."""
        paths: dict[str, list[str]] = {host: [] for host in self._data["stats"]}
        for _, host, result in self.results():
            paths[host] += result.get("changed_files") or []
        return paths

    def failures(self) -> list[str]:
        """`host: task: message` of everything that failed."""
        bad = ((n, h, r) for n, h, r in self.results() if r.get("failed") or r.get("unreachable"))
        return [f"{host}: {name}: {result.get('msg') or result.get('stderr')}" for name, host, result in bad]

    def steps(self) -> list[Step]:
        """Every task that ran on some host, in order."""
        tasks = list(self._tasks())
        starts = [_time(task["task"]["duration"]["start"]) for _, task in tasks]
        ends = (
            [*starts[1:], _time(tasks[-1][1]["task"]["duration"].get("end")) or starts[-1]] if tasks else []
        )
        steps = []
        for (name, task), start, end in zip(tasks, starts, ends, strict=True):
            hosts = sum(1 for result in task["hosts"].values() if not result.get("skipped"))
            steps.append(
                Step(re.sub(r"(Validating arguments) against arg spec.*", r"\1", name), end - start, hosts)
            )
        return steps


def _time(text: str | None) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


class Fleet:
    """The hosts of an inventory.

    Attributes:
        hosts: their names, that of Redis first.
        variables: what the inventory says of each, not templated.
    """

    def __init__(self, inventories: Sequence[Path], extra: Sequence[str] = ()) -> None:
        self.inventories = list(inventories)
        self.extra = list(extra)
        listed = _load(self._call("ansible-inventory", "--list"))
        self.variables: dict[str, dict[str, Any]] = listed["_meta"]["hostvars"]
        redis = listed.get("redis", {}).get("hosts", [])
        self.hosts = sorted(self.variables, key=lambda host: (host not in redis, host))
        names = {str(values.get("testbed_name")) for values in self.variables.values()}
        self.testbed = names.pop() if len(names) == 1 and names != {"None"} else None
        self._control = ""

    # --- Ansible ---

    def _call(
        self, program: str, *arguments: str, inventories: Sequence[Path] = (), **environment: str
    ) -> str:
        """Run one of Ansible's programs on this fleet; what it printed. Raises BenchError."""
        sources = [f"--inventory={path}" for path in (*self.inventories, *inventories)]
        process = subprocess.run(
            [str(Path(sys.executable).parent / program), *sources, *arguments],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise BenchError(_explain(shlex.join([program, *arguments]), process))
        return process.stdout

    def playbook(self, *playbooks: Path, inventories: Sequence[Path] = ()) -> Run:
        """Run playbooks; further inventories override those of the fleet. Raises BenchError."""
        output = self._call(
            "ansible-playbook",
            *(argument for pair in self.extra for argument in ("--extra-vars", pair)),
            *map(str, playbooks),
            inventories=inventories,
            ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
            ANSIBLE_JSON_INDENT="0",
        )
        return _run(output)

    def ping(self) -> None:
        """`ansible all -m ping`. Raises BenchError."""
        self._call("ansible", "all", "--module-name=ansible.builtin.ping")

    # --- containers ---

    def make(self) -> None:
        """Virgin hosts in place of those that are there."""
        self.remove()
        self.playbook(PLAYBOOKS / "testbed" / "create.yml")
        self._control = tempfile.mkdtemp(prefix="bench-ssh-")
        for host in self.hosts:
            self.ssh(host, "true")  # Ansible's connections are open as well

    def remove(self) -> None:
        """Remove the hosts."""
        self.disconnect()
        self.playbook(PLAYBOOKS / "testbed" / "destroy.yml")

    def cpu(self) -> float | None:
        """CPU seconds that the hosts have used since they were made; None for hosts that are no containers."""
        if not self.testbed:
            return None
        names = [f"{self.testbed}-{host}" for host in self.hosts]
        command = [str(ROOT / "scripts" / "podman"), "stats", "--no-stream", "--format", "json", *names]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return sum(_duration(container["cpu_time"]) for container in json.loads(process.stdout))
        except (json.JSONDecodeError, KeyError):
            return None

    # --- ssh ---

    @property
    def ssh_options(self) -> list[str]:
        """How ssh reaches the hosts: with the settings of ansible.cfg, over connections of its own."""
        config = configparser.ConfigParser(interpolation=None)
        config.read(ROOT / "ansible.cfg")
        own = [
            "-F",
            str(ROOT / ".testbed" / str(self.testbed) / "ssh_config"),
            "-o",
            f"ControlPath={self._control}/%C",
        ]
        return own + shlex.split(config.get("ssh_connection", "ssh_args", fallback=""))

    def ssh(self, host: str, command: str, stdin: bytes = b"") -> bytes:
        """Run a command on a host; what it printed. Raises BenchError."""
        process = subprocess.run(
            ["ssh", *self.ssh_options, host, command], input=stdin, capture_output=True, check=False
        )
        if process.returncode:
            raise BenchError(_explain(f"{host}: {command}", process))
        return process.stdout

    def disconnect(self) -> None:
        """Close the connections that `ssh` left open."""
        if self._control:
            for host in self.hosts:
                subprocess.run(
                    ["ssh", *self.ssh_options, "-O", "exit", host], capture_output=True, check=False
                )
            shutil.rmtree(self._control, ignore_errors=True)
        self._control = ""


def _load(text: str) -> Any:
    """Ansible's JSON; values that it marks as not to be templated are plain."""
    return json.loads(text, object_hook=lambda item: item.get("__ansible_unsafe", item))


def _run(output: str) -> Run:
    """After each playbook the callback writes a line with all that happened so far."""
    return Run(_load([line for line in output.splitlines() if line.startswith("{")][-1]))


def _duration(text: str) -> float:
    """Seconds of Go's notation, such as 1h2m3.5s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
    return sum(
        float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|µs|us|ns|h|m|s)", text)
    )


def _explain(what: str, process: subprocess.CompletedProcess[Any]) -> str:
    """What failed, and its own words for it."""
    texts = [
        t.decode(errors="replace") if isinstance(t, bytes) else t for t in (process.stdout, process.stderr)
    ]
    try:
        reasons = _run(texts[0]).failures()
    except (ValueError, IndexError):
        reasons = []
    return "\n".join(
        [f"{what} failed ({process.returncode})", *(reasons or ["".join(texts).strip()[-3000:]])]
    )
