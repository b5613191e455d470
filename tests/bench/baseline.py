"""The yardstick: a plain shell script (shell/fleet, shell/host) that makes the same fleet from captured files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fleet import BenchError, Fleet

SHELL = Path(__file__).resolve().parent / "shell"
RELEASES = "/opt/fleet/"  # what the script installs itself
LOOK = """
apt-mark showmanual
echo --
systemctl list-units --plain --no-legend --state=active --type=service,timer,target | awk '{print $1}' |
    xargs systemctl show --property=Id,UnitFileState | sed -n '/^Id=/h; /^UnitFileState=enabled/{x; s/^Id=//p}'
"""


@dataclass(frozen=True)
class State:
    """What of a host an installation changes: the packages asked for, and the enabled units that are active."""

    packages: frozenset[str]
    units: frozenset[str]


def look(fleet: Fleet) -> dict[str, State]:
    """The state of each host."""
    states = {}
    for host in fleet.hosts:
        packages, units = fleet.ssh(host, LOOK).decode().split("--\n")
        states[host] = State(frozenset(packages.split()), frozenset(units.split()))
    return states


class Script:
    """The plain script with the payload of a fleet: everything that distinguishes its hosts from virgin ones."""

    def __init__(self, fleet: Fleet, payload: Path) -> None:
        self.fleet = fleet
        self.payload = payload
        self.units: dict[str, list[str]] = {}

    def capture(
        self, before: dict[str, State], files: dict[str, list[str]], releases: Path, redis: tuple[str, int]
    ) -> None:
        """Take from the fleet as it is what the script needs to make it again.

        before: the hosts when they were virgin. files: what was written on each. releases: where the controller keeps the
        built archives. redis: address and port.
        """
        shutil.rmtree(self.payload, ignore_errors=True)
        self.payload.mkdir(parents=True, mode=0o700)  # passwords are in it
        shutil.copy(SHELL / "host", self.payload)
        for host, after in look(self.fleet).items():
            place = self.payload / host
            place.mkdir()
            self.units[host] = sorted(after.units - before[host].units)
            (place / "units").write_text("\n".join(self.units[host]) + "\n")
            (place / "packages").write_text("\n".join(sorted(after.packages - before[host].packages)) + "\n")
            (place / "redis").write_text("{} {}\n".format(*redis))
            paths = sorted(path.lstrip("/") for path in set(files[host]) if not path.startswith(RELEASES))
            tar = "sudo tar --create --no-recursion --directory / --files-from -"
            (place / "tree.tar").write_bytes(self.fleet.ssh(host, tar, "\n".join(paths).encode()))
            self._capture_release(host, place, releases)

    def _capture_release(self, host: str, place: Path, releases: Path) -> None:
        # A host without a release (Redis alone) has no such file
        about = self.fleet.ssh(host, f"cat {RELEASES}current/release.json 2>/dev/null || true").decode()
        if not about:
            return
        release = json.loads(about)
        (place / "release").write_text(release["id"] + "\n")
        archive = releases / release["id"] / f"python{release['python']}-{release['machine']}.tar"
        (place / "release.tar").symlink_to(archive.resolve())

    def run(self) -> str:
        """Make the fleet, or bring it to the payload again; what the script said. Raises BenchError."""
        options = self.fleet.ssh_options
        process = subprocess.run(
            [str(SHELL / "fleet"), str(self.payload), *options, "--", *self.fleet.hosts],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise BenchError(f"the plain script failed\n{(process.stdout + process.stderr).strip()[-3000:]}")
        return process.stdout

    def put_back(self, host: str, files: list[str], unit: str) -> str:
        """What an operator would do by hand: copy these files of one host, restart one unit."""
        paths = " ".join(path.lstrip("/") for path in files)
        commands = f"tar --extract --file - --directory / {paths} && systemctl daemon-reload && systemctl restart {unit}"
        return self.fleet.ssh(
            host, f"sudo sh -c '{commands}'", (self.payload / host / "tree.tar").read_bytes()
        ).decode()

    def idle_units(self) -> list[str]:
        """`host: unit` of every unit of the fleet that is not active."""
        idle = []
        for host, units in self.units.items():
            # is-active fails for what is not active; the states themselves are compared
            states = self.fleet.ssh(host, f"systemctl is-active {' '.join(units)} || true").decode().split()
            idle += [f"{host}: {u} is {s}" for u, s in zip(units, states, strict=True) if s != "active"]
        return idle

    def main_pids(self) -> dict[str, str]:
        """MainPID of every service of the fleet, by `host unit`."""
        pids = {}
        for host, units in self.units.items():
            services = [unit for unit in units if unit.endswith(".service")]
            shown = self.fleet.ssh(
                host, f"systemctl show --property=Id,MainPID {' '.join(services)}"
            ).decode()
            for block in shown.strip().split("\n\n"):
                about = dict(line.split("=", 1) for line in block.splitlines())
                pids[f"{host} {about['Id']}"] = about["MainPID"]
        return pids


def said_of(output: str) -> list[str]:
    """What the script did, line by line; empty when everything was in place."""
    return [line for line in output.splitlines() if re.match(r"\S+: (installing|writing|restarting) ", line)]
