"""How long a converge takes, as a ratio to a plain shell script that makes the same fleet.

On a testbed of its own (overlay.yml): `site.yml` makes the fleet on virgin hosts; what it wrote is captured; the hosts are made
anew, and the script makes the same fleet. It is the same: the tasks of every queue are answered, and `site.yml` finds nothing to
change. On that fleet the run without a change and the change of one variable are then measured in turn, beside a bare ping.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from baseline import Script, look, said_of
from fleet import PLAYBOOKS, ROOT, BenchError, Fleet, Run
from measure import Ratio, Series, measured, table

HERE = Path(__file__).resolve().parent
OUT = ROOT / "build" / "bench"
RELEASES = ROOT / "build" / "bench-releases"
LOCAL = ROOT / "inventories" / "local"
SITE = ROOT / "site.yml"
T = TypeVar("T")
BEGAN = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"{time.monotonic() - BEGAN:4.0f}s  {text}", flush=True)


def unknown() -> float | None:
    """The CPU seconds of hosts that nobody can ask."""
    return None


class Bench:
    """The measurements of one fleet, each a series of runs."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.series: dict[str, Series] = {}
        self.build: float | None = None  # seconds that the wheelhouses took, once
        self.unchanged: list[tuple[float, Run]] = []  # seconds and profile of each run without a change

    def time(self, name: str, what: Callable[[], T]) -> T:
        """Run it, as one more sample of the series of that name; its own answer."""
        series = self.series.setdefault(name, Series(name))
        with measured(series, self.fleet.cpu if self.fleet.testbed else unknown):
            answer = what()
        cpu = series.samples[-1].cpu
        say(
            f"{name}: {series.samples[-1].seconds:.1f}s" + (f", {cpu:.1f}s of CPU" if cpu is not None else "")
        )
        return answer

    def site(self, name: str, *inventories: Path) -> Run:
        """`ansible-playbook site.yml`."""
        return self.time(name, partial(self.fleet.playbook, SITE, inventories=inventories))

    def ping(self) -> None:
        """`ansible all -m ping`."""
        self.time("ping", self.fleet.ping)

    def site_unchanged(self) -> None:
        """A run of `site.yml` that must find nothing to do."""
        run = self.site("no change: site.yml")
        if run.changed():
            listed = "\n".join(run.changed())
            raise BenchError(f"site.yml was to find nothing to do, and changed\n{listed}")
        self.unchanged.append((self.series["no change: site.yml"].samples[-1].seconds, run))

    def script(self, name: str, script: Script) -> list[str]:
        """The plain script; what it did."""
        return said_of(self.time(name, script.run))

    def profile(self) -> tuple[float, Run]:
        """The run without a change that took neither the longest nor the shortest time."""
        return sorted(self.unchanged, key=lambda pair: pair[0])[len(self.unchanged) // 2]

    def ratios(self) -> list[Ratio]:
        """Those of which both sides were measured."""
        wanted = [
            ("cold converge / script", "cold: site.yml", "cold: script", 2.0, 1.3),
            ("no change / ping", "no change: site.yml", "ping", 30.0, 12.0),
            ("no change / script", "no change: site.yml", "no change: script", None, None),
            ("one variable / script", "one variable: site.yml", "one variable: script", None, None),
            ("one variable / by hand", "one variable: site.yml", "one variable: by hand", None, None),
        ]
        return [
            Ratio(name, self.series[measured], self.series[yardstick], goal, aim)
            for name, measured, yardstick, goal, aim in wanted
            if measured in self.series and yardstick in self.series
        ]


def build_seconds(run: Run) -> float:
    """Seconds of the steps that build the release on the controller."""
    return sum(step.seconds for step in run.steps() if "Build the wheelhouse" in step.name)


def redis_of(fleet: Fleet) -> tuple[str, int]:
    """Where the fleet's Redis listens."""
    host = fleet.hosts[0]
    variables = fleet.variables[host]
    return str(variables.get("ansible_host", host)), int(variables.get("redis_port", 6379))


def write_change(fleet: Fleet, place: Path) -> tuple[str, str]:
    """An inventory that overrides one pool's concurrency; the host and the pool."""
    for host in sorted(fleet.hosts, key=lambda host: host != "worker1"):
        pools = fleet.variables[host].get("celery_worker_pools") or {}
        for pool, settings in pools.items():
            if isinstance(settings.get("concurrency"), int) and settings["concurrency"] > 1:
                changed = {**pools, pool: {**settings, "concurrency": settings["concurrency"] - 1}}
                (place / "host_vars").mkdir(parents=True, exist_ok=True)
                (place / "hosts.json").write_text(json.dumps({"all": {"hosts": {host: None}}}))
                (place / "host_vars" / f"{host}.json").write_text(
                    json.dumps({"celery_worker_pools": changed})
                )
                return host, pool
    raise BenchError("no host has a pool with a concurrency that could be changed")


def expect_restart(script: Script, name: str, before: dict[str, str], restarted: str) -> None:
    """Raises BenchError unless this one service has a new process, and no other one."""
    after = script.main_pids()
    new = [service for service in before if before[service] != after[service]]
    if new != [restarted]:
        raise BenchError(f"{name} was to restart {restarted}, and restarted {', '.join(new) or 'nothing'}")


def measure_cold(bench: Bench, runs: int) -> Script:
    """Both sides on virgin hosts; the script that then stands for the fleet."""
    fleet = bench.fleet
    script = Script(fleet, OUT / "payload")
    for _ in range(runs):
        say("making virgin hosts")
        fleet.make()
        virgin = look(fleet)
        if bench.build is None:
            shutil.rmtree(RELEASES, ignore_errors=True)
            bench.build = build_seconds(
                fleet.playbook(*(PLAYBOOKS / f"{n}.yml" for n in ("validate", "plan", "build")))
            )
            say(f"wheelhouses built in {bench.build:.1f}s; both sides take them from there")
        run = bench.site("cold: site.yml")
        script.capture(virgin, run.changed_files(), RELEASES, redis_of(fleet))
    for _ in range(runs):
        say("making virgin hosts")
        fleet.make()
        bench.script("cold: script", script)
    say("checking that the script made the same fleet")
    if idle := script.idle_units():
        raise BenchError("units of the script's fleet are not active\n" + "\n".join(idle))
    fleet.playbook(PLAYBOOKS / "smoke.yml")  # fails unless a task of every queue is answered
    if changed := fleet.playbook(SITE).changed():
        raise BenchError("the script's fleet is not the same: site.yml changed\n" + "\n".join(changed))
    return script


def measure_changes(bench: Bench, script: Script, runs: int) -> None:
    """The run without a change and the change of one variable, each side in turn on the same fleet."""
    for _ in range(runs):
        bench.ping()
        if did := bench.script("no change: script", script):
            raise BenchError("the script was to find nothing to do: " + "; ".join(did))
        bench.site_unchanged()
    host, pool = write_change(bench.fleet, OUT / "change")
    unit = f"celery-worker@{pool}.service"
    say(f"changing the concurrency of {host}'s pool {pool}, and back")
    pids = script.main_pids()

    def restarted(name: str) -> None:
        nonlocal pids
        expect_restart(script, name, pids, f"{host} {unit}")
        pids = script.main_pids()

    for _ in range(runs):
        for back in ("script", "by hand"):
            run = bench.site("one variable: site.yml", OUT / "change")
            restarted("site.yml")
            name, files = f"one variable: {back}", run.changed_files()[host]
            bench.time(name, script.run if back == "script" else partial(script.put_back, host, files, unit))
            restarted(name)


def report(bench: Bench) -> dict[str, object]:
    """Print the tables; the result for the JSON file."""
    print(
        "\n"
        + table(
            ["", "seconds", "CPU s", "runs"],
            ([s.name, s.seconds, s.cpu, len(s.samples)] for s in bench.series.values()),
        )
    )
    rows = [
        [r.name, r.value, r.cpu, f"at most {r.goal:g}, aim {r.aim:g}" if r.goal else "", r.verdict]
        for r in bench.ratios()
    ]
    print("\n" + table(["", "ratio", "CPU ratio", "goal", ""], rows))
    seconds, run = bench.profile()
    steps = run.steps()
    around = seconds - sum(step.seconds for step in steps)
    top = sorted(steps, key=lambda step: -step.seconds)[:10]
    print(f"\nWhere the {seconds:.1f}s of a run without a change go ({len(steps)} tasks):")
    rest = sum(step.seconds for step in steps) - sum(step.seconds for step in top)
    lines = [[step.name, step.seconds, step.hosts] for step in top]
    lines += [["all other tasks", rest, ""], ["before the first task, after the last", around, ""]]
    print(table(["task", "seconds", "hosts"], lines))
    if bench.build is not None:
        print(f"\nThe wheelhouses, built once for both sides: {bench.build:.1f}s")
    return {
        "build_seconds": bench.build,
        "series": {name: series.as_dict() for name, series in bench.series.items()},
        "ratios": [ratio.as_dict() for ratio in bench.ratios()],
        "profile": [vars(step) for step in steps],
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="of everything that is quick (default: %(default)s)"
    )
    parser.add_argument(
        "--cold-runs", type=int, default=1, help="of each cold converge (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts of the benchmark")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only the run without a change against a ping, on hosts that are converged already",
    )
    parser.add_argument(
        "-i",
        "--inventory",
        type=Path,
        action="append",
        help="with --quick: whose hosts (default: inventories/local)",
    )
    chosen = parser.parse_args()
    if chosen.inventory and not chosen.quick:
        parser.error("-i needs --quick: the whole benchmark makes and removes hosts of its own")
    return chosen


def main() -> int:
    """Measure, report; 0 unless there was nothing to measure."""
    chosen = options()
    OUT.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        say(f"this machine is busy (load {load:.1f}): the seconds are too long, the ratios are rough")
    try:
        if chosen.quick:
            bench = Bench(Fleet([path.resolve() for path in chosen.inventory or [LOCAL]]))
            bench.fleet.ping()  # opens the connections
            for _ in range(chosen.runs):
                bench.ping()
                bench.site_unchanged()
        else:
            bench = Bench(Fleet([LOCAL, HERE / "overlay.yml"], [f"release_build_dir={RELEASES}"]))
            try:
                measure_changes(bench, measure_cold(bench, chosen.cold_runs), chosen.runs)
            finally:
                if chosen.keep:
                    bench.fleet.disconnect()
                else:
                    say("removing the hosts")
                    shutil.rmtree(OUT / "payload", ignore_errors=True)  # passwords are in it
                    bench.fleet.remove()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    machine = {
        "cpus": os.cpu_count(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "quick": chosen.quick,
    }
    result = OUT / ("quick.json" if chosen.quick else "converge.json")
    result.write_text(json.dumps({"machine": machine, **report(bench)}, indent=2) + "\n")
    print(f"\nAll figures: {result.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
