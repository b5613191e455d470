"""`make audit`: how hardened the hosts of a fleet are, before celery-fleet and after, as one table.

It looks at the hosts of ANSIBLE_INVENTORY (without it: those of `make up`), changes nothing on them, and leaves nothing there:

  Lynis       its index of 100, warnings and suggestions; before: a fresh container of the host's image
  systemd     the figure of `systemd-analyze security` for each service, from 10 (exposed) to 0; before: the unit as Debian
              brings it, or the fleet's own without the lines of its sandbox
  testssl.sh  what Redis, nginx and Flower offer, asked from this machine; before: in clear
  checks      sockets that no rule of the firewall names, Redis users without a password, secrets in files that everybody may
              read, files of the fleet that everybody may write, services of root

The verdict is `ok`, `FAILED` for a check or a limit of the fleet's own, or `note` for what is yours to judge: what Lynis says,
and ports in clear. All that was found is in build/audit/report.json. Exit code: 0; 1 when something FAILED; 2 when it could not
look.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from audit import checks, exposure, lynis, tls  # noqa: E402
from audit.findings import NOTHING, AuditError, Finding, checked, table, wrong  # noqa: E402
from audit.machines import (  # noqa: E402
    Shell,
    directory_on,
    fresh,
    send_to_container,
    send_to_host,
    shell_of,
)
from fleetsecrets import secrets_of  # noqa: E402
from hosts import Fleet, read_fleet  # noqa: E402

OUT = ROOT / "build" / "audit"
AT_ONCE = 8
"""Most of it waits for hosts; testssl.sh alone is busy on this machine."""
TESTSSL = Semaphore(2)
"""So many of it: each is busy on one core, and more of them only run into its time limits."""
BEGAN = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"{time.monotonic() - BEGAN:4.0f}s  {text}", flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tests/audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one host, a part of Lynis's tests, and the protocols of one port: half a minute",
    )
    parser.add_argument(
        "--host", action="append", metavar="NAME", help="only this one; may be given again (default: all)"
    )
    return parser.parse_args()


def chosen_hosts(fleet: Fleet, wanted: Sequence[str] | None, *, quick: bool) -> list[str]:
    """Those that are named, or one that has much to look at, or all."""
    unknown = [name for name in wanted or () if name not in fleet.names]
    if unknown:
        raise AuditError(f"the inventory has no host {unknown[0]}; it has {', '.join(fleet.names)}")
    if not fleet.names:
        raise AuditError(
            "the inventory has no hosts; name one: ANSIBLE_INVENTORY=inventories/mine make audit"
        )
    if wanted:
        return list(dict.fromkeys(wanted))
    return [*fleet.groups.get("redis", ()), *fleet.names][:1] if quick else list(fleet.names)


@dataclass(frozen=True)
class Audit:
    """One run."""

    fleet: Fleet
    hosts: list[str]
    quick: bool
    pool: ThreadPoolExecutor

    def findings(self) -> list[Finding]:
        """All of them, in the order of the table."""
        places = tls.places(self.fleet, self.hosts)
        scans = [
            self.pool.submit(self._tls, place, number)
            for number, place in enumerate(places[:1] if self.quick else places)
        ]
        archive = OUT / "lynis.tar.gz"
        lynis.pack(archive)
        images = {
            host: str(said["testbed_image"])
            for host in self.hosts
            if "testbed_image" in (said := self.fleet.variables(host))
        }
        before = {
            image: self.pool.submit(self._lynis_before, image, archive)
            for image in dict.fromkeys(images.values())
        }
        after = {host: self.pool.submit(self._lynis_after, host, archive) for host in self.hosts}
        own = [self.pool.submit(part, host) for part in (self._exposure, self._checks) for host in self.hosts]
        found = []
        for host in self.hosts:
            then = before[images[host]].result() if host in images else None
            found += lynis.findings(host, then, after[host].result())
        found += [scan.result() for scan in scans]
        return found + [finding for future in own for finding in future.result()]

    def _lynis_before(self, image: str, archive: Path) -> lynis.Result:
        with fresh(image) as (name, shell):
            say(f"{image}: a fresh container has booted; Lynis begins there")
            with directory_on(shell) as path:
                send_to_container(name, archive, path)
                return self._lynis(image, shell, path, refresh=True)

    def _lynis_after(self, host: str, archive: Path) -> lynis.Result:
        shell = shell_of(host)
        with directory_on(shell) as path:
            send_to_host(host, archive, path)
            return self._lynis(host, shell, path, refresh=False)

    def _lynis(self, name: str, shell: Shell, path: str, *, refresh: bool) -> lynis.Result:
        result = lynis.parse(shell(lynis.command(path, quick=self.quick, refresh=refresh)))
        say(f"{name}: Lynis has done {result.tests} tests")
        return result

    def _exposure(self, host: str) -> list[Finding]:
        shell = shell_of(host)
        after = exposure.figures(shell(exposure.FIGURES))
        before = {}
        if after:
            files = exposure.fragments(shell(exposure.fragments_of(after)))
            with directory_on(shell) as path:
                before = exposure.overall(shell(exposure.without_sandbox(path, files)))
        say(f"{host}: {len(after)} services looked at")
        return exposure.findings(host, before, after)

    def _checks(self, host: str) -> list[Finding]:
        shell, said = shell_of(host), self.fleet.variables(host)
        found = []
        if said.get("firewall_enabled", True):
            problems = checks.unknown_sockets(shell(checks.SOCKETS), shell(checks.FIREWALL))
            found.append(checked(host, "sockets beside the firewall", problems))
        else:
            found.append(Finding(host, "firewall", NOTHING, "firewall_enabled: false", "note"))
        if host in self.fleet.groups.get("redis", ()):
            found.append(
                checked(host, "Redis users without a password", checks.weak_users(shell(checks.REDIS_USERS)))
            )
        readable = checks.readable_secrets(shell(checks.READABLE), secrets_of(self.fleet))
        found += [
            checked(host, "secrets that everybody may read", readable),
            checked(host, "files that everybody may write", checks.writable(shell(checks.WRITABLE))),
            checked(host, "services of root", checks.root_services(shell(checks.PROCESSES))),
        ]
        say(f"{host}: {len(found)} checks done")
        return found

    def _tls(self, place: tls.Place, number: int) -> Finding:
        try:
            if not tls.speaks_tls(place):
                return tls.in_clear(place)
        except OSError as error:
            return tls.out_of_reach(place, error)
        authority = (
            Path(str(self.fleet.variables(place.host).get("fleet_secrets_dir", "")))
            / "certificates"
            / "authority.pem"
        )
        result = OUT / f"testssl-{number}.json"
        words = tls.command(place, authority, result, quick=self.quick)
        with TESTSSL:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, errors="replace"
            )
        result.with_suffix(".txt").write_text(done.stdout + done.stderr)
        if not result.exists():
            raise AuditError(f"testssl.sh gave no result: {(done.stdout + done.stderr).strip()[-500:]}")
        say(f"{place.host}: testssl.sh is done with {place.name}")
        return tls.finding(place, tls.parse(result.read_text(errors="replace")), quick=self.quick)


def main() -> int:
    """0 when the fleet keeps its own limits."""
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    try:
        fleet = read_fleet()
        hosts = chosen_hosts(fleet, chosen.host, quick=chosen.quick)
        say(f"{', '.join(fleet.sources)}: {', '.join(hosts)}")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                found = Audit(fleet, hosts, chosen.quick, pool).findings()
            except BaseException:
                say("it ends early; what runs on hosts is waited for, and removed")
                pool.shutdown(cancel_futures=True)
                raise
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    problems = wrong(found)
    report = {
        "quick": chosen.quick,
        "hosts": hosts,
        "failed": problems,
        "findings": [f.as_dict() for f in found],
    }
    (OUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(found)}\n")
    for problem in problems:
        print(f"FAILED  {problem}")
    say(f"all of it: {(OUT / 'report.json').relative_to(ROOT)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
