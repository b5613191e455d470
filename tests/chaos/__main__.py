"""`make chaos`: tasks flow, workers and Redis are killed, frozen, cut off and stopped; no confirmed task may be lost.

Two hosts (namespaces of this machine) with a prefork, a threads, a gevent and a solo pool each, run as their units say, on one
Redis. The account is kept outside of it: producers write down what the broker has confirmed, tasks when they begin and end.
A seed decides what happens in which order; the same seed gives the same faults, not the same races.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from faults import AWAY, CHILD, FULL, OOM, QUICK, RECOVERY, STOPPED, UNWANTED, Chaos  # noqa: E402
from fleet import KINDS, Fleet, add_hungry, make_plan  # noqa: E402
from ledger import (  # noqa: E402
    Fault,
    Task,
    add_runs,
    attempts_between,
    first_runs,
    grouped,
    lost,
    read_published,
    redeliveries,
    repeats,
)
from remains import find, left_over  # noqa: E402
from report import Report  # noqa: E402
from stage import ChaosError, until  # noqa: E402

from unit import Unit  # noqa: E402

OUT = ROOT / "build" / "chaos"
RATE = 40  # tasks a second
LONGEST = 3600  # seconds of tasks that are planned; their producers are stopped when the faults end
LONGEST_DRAIN = 600
TRIES = 0.1  # a second, at least, that each producer goes on with while Redis is away
BEGAN = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the beginning."""
    print(f"{time.monotonic() - BEGAN:4.0f}s  {text}", flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a short form: each fault once or twice")
    parser.add_argument("--seed", type=int, help="of the faults and the tasks (default: another each time)")
    parser.add_argument("--delivery", choices=("atomic", "stock"), help="celery_delivery of the fleet")
    parser.add_argument("--kinds", default=",".join(KINDS), help="pool kinds (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE, help="tasks a second (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=60, help="seconds without progress at the end")
    return parser.parse_args()


def ledger(fleet: Fleet) -> dict[str, Task]:
    """All that is known of the tasks at this moment."""
    tasks = read_published(fleet.published())
    add_runs(tasks, fleet.marks.read_text())
    return tasks


def let_it_end(fleet: Fleet, wanted: int, patience: float) -> None:
    """Publishes what is missing, and waits for the tasks that are not done, while there is progress."""

    def published() -> bool:
        return sum(task.confirmed is not None for task in ledger(fleet).values()) >= wanted

    until(published, "publishing", 600, 1)
    fleet.stop_producing()
    until(lambda: not fleet.producing(), "the end of the producers")
    say("all is published; waiting for the last tasks")
    began = progress = time.monotonic()
    missing = len(lost(ledger(fleet)))
    while missing and time.monotonic() < min(progress + patience, began + LONGEST_DRAIN):
        time.sleep(0.5)
        now_missing = len(lost(ledger(fleet)))
        if now_missing < missing:
            missing, progress = now_missing, time.monotonic()
    say(f"{missing} tasks are not done")
    time.sleep(3)  # the last acknowledgements


def judge(fleet: Fleet, chaos: Chaos, chosen: argparse.Namespace, seed: int) -> Report:
    """What came of it."""
    tasks, faults = ledger(fleet), chaos.all_faults()
    missing = lost(tasks)
    with fleet.redis.client() as broker, fleet.redis.client(2) as state:
        where = find([task.id for task in missing], {"broker": broker, "state": state})
        left = left_over(broker)
    units = {unit.node: unit for unit in [*fleet.units, *fleet.ended]}
    recovery, stops, not_recovered = [], [], []
    for fault in faults:
        unit = units.get(fault.node)
        if fault.healed is not None:
            begun = first_runs(tasks, fault.healed)
            for each in units.values():
                if not fault.hits(each.node) or each.events[0].at > fault.at:
                    continue
                if begun.get(each.node, math.inf) - fault.healed < RECOVERY:
                    recovery.append(((fault.name, each.pool.kind), begun[each.node] - fault.healed))
                elif each in fleet.units and each.first("start", fault.at) is None:
                    not_recovered.append(f"{each.node} after {fault.name}")
        elif unit and fault.name in STOPPED.values():
            ended = unit.first("exit", fault.at)
            if ended:
                stops.append(((fault.name, fault.kind), ended - fault.at))
        elif unit and not _goes_on(unit, fault) and (ready := unit.first("ready", fault.at)):
            recovery.append(((fault.name, fault.kind), ready - fault.at))
    preset = QUICK if chosen.quick else FULL
    delivery = chosen.delivery or "default"
    return Report(
        settings={
            "seed": seed,
            "quick": chosen.quick,
            "delivery": delivery,
            "kinds": chosen.kinds,
            "rate": chosen.rate,
        },
        tasks=tasks,
        faults=faults,
        kills=chaos.kills(),
        kills_wanted=0 if preset is QUICK else 100,
        tasks_wanted=wanted_tasks(chosen.quick),
        lost=[(task, where[task.id]) for task in missing],
        repeats=repeats(tasks, faults),
        redelivery=grouped(
            ((fault.name, run.node.partition("@")[0]), seconds)
            for fault, run, seconds in redeliveries(tasks, faults)
        ),
        recovery=grouped(recovery),
        stops=grouped(stops),
        left=left,
        not_recovered=not_recovered,
        unwanted=[fault for fault in faults if fault.name in UNWANTED],
        gave_up=_gave_up(fleet, faults),
    )


def _gave_up(fleet: Fleet, faults: Sequence[Fault]) -> list[str]:
    found = []
    for fault in faults:
        if fault.name != AWAY or fault.healed is None:
            continue
        for number, text in enumerate(fleet.published()):
            count = attempts_between(read_published([text]), fault.at, fault.healed)
            say(f"producer {number}: {count} attempts to publish while Redis was away")
            if count < TRIES * (fault.healed - fault.at):
                found.append(f"producer {number} tried only {count} times while Redis was away")
    return found


def _goes_on(unit: Unit, fault: Fault) -> bool:
    """A child was lost, the service was not."""
    return fault.name == CHILD or (fault.name == OOM and unit.pool.kind == "prefork")


def wanted_tasks(quick: bool) -> int:
    """How many tasks at least."""
    return 1000 if quick else 5000


def main() -> int:
    """0 when nothing was lost and everything is explained."""
    chosen = options()
    if os.geteuid() != 0:
        print("error: hosts are made of namespaces, which needs root: sudo make chaos", file=sys.stderr)
        return 1
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1_000_000)
    plan, rng = (QUICK if chosen.quick else FULL), random.Random(seed)
    kinds = tuple(chosen.kinds.split(","))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    say(f"seed {seed}: --seed={seed} does the same again")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fleet = Fleet(OUT, chosen.delivery, kinds)
    try:
        fleet.start()
        say(f"{len(fleet.units)} services are ready")
        tasks = make_plan(random.Random(seed + 1), chosen.rate, LONGEST, kinds)
        hungry = [kind for _ in range(plan.hungry) for kind in (kinds if plan is FULL else kinds[:1])]
        add_hungry(tasks, hungry, 12 if plan is QUICK else 45)
        fleet.produce(tasks, random.Random(seed + 2))
        time.sleep(1)
        chaos = Chaos(fleet, plan, rng, say)
        chaos.reign()
        let_it_end(fleet, wanted_tasks(chosen.quick), chosen.patience)
        report = judge(fleet, chaos, chosen, seed)
    except ChaosError as error:
        print(f"error: {error}; logs: {OUT}", file=sys.stderr)
        return 1
    finally:
        fleet.close()
    text = report.markdown()
    print("\n" + text)
    (OUT / "report.md").write_text(text)
    (OUT / "report.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    say(f"logs, accounts and report: {OUT.relative_to(ROOT)}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
