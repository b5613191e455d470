"""What systemd says about the services of a host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from testinfra.host import Host

from acceptance.waiting import PATIENCE, eventually
from hosts import Fleet

Answer = TypeVar("Answer")

OURS = "'celery-*' redis-server.service 'prometheus*' systemd-journald.service"


def worker(pool: str) -> str:
    """The unit of a pool."""
    return f"celery-worker@{pool}.service"


def show(host: Host, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    output = host.check_output(f"systemctl show '{unit}' --property={','.join(names)}")
    return dict(line.split("=", 1) for line in output.splitlines())


def main_pid(host: Host, unit: str) -> int:
    """The process id of a unit's main process; 0 when none runs."""
    return int(show(host, unit, "MainPID")["MainPID"])


def on_all(names: Iterable[str], ask: Callable[[str], Answer]) -> dict[str, Answer]:
    """The answer of every host, asked at the same time."""
    names = list(names)
    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(ask, names), strict=True))


def main_pids(fleet: Fleet) -> dict[tuple[str, str], int]:
    """(host, unit) and the process id of every service of the fleet that goes on; what a timer runs comes and goes."""

    def ask(name: str) -> dict[str, int]:
        blocks = (
            fleet.host(name).check_output(f"systemctl show --property=Id,MainPID,Type {OURS}").split("\n\n")
        )
        shown = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
        return {
            unit["Id"]: int(unit["MainPID"])
            for unit in shown
            if int(unit.get("MainPID", 0)) and unit["Type"] != "oneshot"
        }

    answers = on_all(fleet.names, ask)
    return {(name, unit): pid for name, units in answers.items() for unit, pid in units.items()}


def replaced(
    before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]
) -> set[tuple[str, str]]:
    """Services whose main process is another one, or that came or went."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def cgroup_of(host: Host, pid: int) -> str:
    """The control group that systemd has put a process into."""
    return _cgroups(host, pid)[""]


def memory_limit(host: Host, pid: int) -> int:
    """Bytes that the kernel allows the control group of a process."""
    return int(_memory_file(host, pid, "memory.limit_in_bytes", "memory.max"))


def kills(host: Host, pid: int) -> int:
    """How many processes of its control group the kernel has killed for want of memory."""
    text = _memory_file(host, pid, "memory.oom_control", "memory.events")
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])


def _cgroups(host: Host, pid: int) -> dict[str, str]:
    """Paths by controller; "" is systemd's own hierarchy."""
    lines = [line.split(":", 2) for line in host.check_output(f"cat /proc/{pid}/cgroup").splitlines()]
    found = {controllers: path for _, controllers, path in lines}
    return {**found, "": found.get("name=systemd", found.get("", ""))}


def _memory_file(host: Host, pid: int, first: str, second: str) -> str:
    """The file of the memory controller, by its name in version 1 and in version 2 of control groups."""
    groups = _cgroups(host, pid)
    path = f"/memory{groups['memory']}/{first}" if "memory" in groups else f"{groups['']}/{second}"
    return str(host.check_output(f"cat /sys/fs/cgroup{path}"))


def ready(host: Host, unit: str) -> bool:
    """Whether the service itself has said that it is ready."""
    shown = show(host, unit, "ActiveState", "SubState", "StatusText")
    is_up = (shown["ActiveState"], shown["SubState"]) == ("active", "running")
    return is_up and ("busy" in shown["StatusText"] or not unit.startswith("celery-worker"))


def until_ready(host: Host, unit: str, patience: float = PATIENCE) -> None:
    """Waits for `ready`."""
    eventually(lambda: ready(host, unit), f"{unit} is ready", patience)


def journal(host: Host, *matches: str) -> list[dict[str, Any]]:
    """The journal entries that match `FIELD=value` pairs or options, oldest first."""
    answer = host.run(f"journalctl --quiet --no-pager --output=json {' '.join(matches)}")
    assert answer.rc == 0 or not answer.stdout + answer.stderr, (
        answer
    )  # 1, and silent: --grep has found nothing
    return [json.loads(line) for line in answer.stdout.splitlines()]


def now(host: Host) -> str:
    """This moment of the host's clock, for `journalctl --since`."""
    return "@" + str(host.check_output("date +%s.%N"))


def logs_since(fleet: Fleet, since: float, lines: int = 40) -> str:
    """The last lines of our services since a moment (seconds since the epoch), for the report of a failed test."""
    command = f"journalctl --no-pager --since=@{since:.0f} -n {lines} -o short-precise -u 'celery-*' -u redis-server"
    answers = on_all(fleet.names, lambda name: fleet.host(name).run(command).stdout)
    return "\n".join(f"--- {name}\n{text}" for name, text in answers.items())
