"""What is done to the fleet, in an order that a seed decides."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleet import Fleet
from ledger import EVERYWHERE, Fault, Task, add_runs, first_runs, read_published
from stage import ChaosError

from unit import Unit

MAIN, GROUP, CHILD = "main killed", "group killed", "child killed"
FROZEN, OOM, GONE = "frozen until the watchdog", "out of memory", "host gone for good"
STOPPED = {"finish": "stopped, finish", "requeue": "stopped, requeue"}
CUT, LONG_CUT = "network cut", "network cut, long"
RESTARTED, REDIS_FROZEN, REDIS_KILLED = "Redis restarted", "Redis frozen", "Redis killed -9"
AWAY = "Redis away, long"
OF_REDIS = (RESTARTED, REDIS_FROZEN, REDIS_KILLED, AWAY)

UNASKED, OVERDUE = "watchdog, unasked for", "start or stop overdue"
ENDED = "ended while Redis was away"
UNWANTED = (UNASKED, OVERDUE, ENDED)
"""What must not happen by itself."""
KILLS = (MAIN, GROUP, CHILD, FROZEN, OOM, GONE, REDIS_KILLED)
AT_ONCE = 3  # services that recover at the same time
RECOVERY = 60.0
"""Seconds that are waited for a node to begin a task after an outage."""
AFTERMATH = 15.0
"""Seconds of work after Redis was away for long: more than the watchdog's patience."""


@dataclass(frozen=True)
class Plan:
    """How often each fault befalls each pool kind, or the whole fleet. pause: seconds between two, at least and at most.

    away: seconds that Redis is gone in the end; 0: it is not.
    """

    main: int
    group: int
    child: int
    frozen: int
    stopped: int
    hungry: int
    gone: int
    cuts: Sequence[float]
    redis: int
    freeze: float
    away: float
    pause: tuple[float, float]

    def of_services(self, kinds: Sequence[str]) -> list[tuple[str, str]]:
        """(fault, pool kind), in order of name."""
        found = [(CHILD, "prefork")] * self.child if "prefork" in kinds else []
        for kind in kinds:
            found += [(MAIN, kind)] * self.main + [(GROUP, kind)] * self.group
            found += [(FROZEN, kind)] * self.frozen
            for name in STOPPED.values():
                found += [(name, kind)] * self.stopped
        return found

    def of_fleet(self) -> list[str]:
        found = [GONE] * self.gone + [CUT if seconds < 10 else LONG_CUT for seconds in self.cuts]
        return found + [RESTARTED, REDIS_FROZEN, REDIS_KILLED] * self.redis


FULL = Plan(9, 7, 12, 2, 2, 2, 3, (7, 7, 25, 25), 2, 15, 300, (1.5, 3.5))
QUICK = Plan(1, 1, 2, 0, 0, 1, 1, (14,), 1, 11, 0, (0.6, 1.4))


@dataclass
class Chaos:
    """Brings the faults upon a fleet, and keeps the account of them."""

    fleet: Fleet
    plan: Plan
    rng: random.Random
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list)
    _stopped: list[Unit] = field(default_factory=list)
    _hosts: int = 0

    def reign(self) -> None:
        """All faults, one after the other."""
        services = self.plan.of_services(self.fleet.kinds)
        if self.plan == QUICK:  # one of these each, whatever the kind
            kinds = list(self.fleet.kinds)
            services += [(name, self.rng.choice(kinds)) for name in (FROZEN, *STOPPED.values())]
        fleet = self.plan.of_fleet()
        self.rng.shuffle(services)
        self.rng.shuffle(fleet)
        cuts = iter(self.plan.cuts)
        each = len(services) // (len(fleet) + 1) + 1
        while services or fleet:
            batch, services = services[:each], services[each:]
            for name, kind in batch:
                self._befall(name, kind)
                self.pause(self.rng.uniform(*self.plan.pause))
            if fleet:
                self.fleet_is_whole()
                name = fleet.pop(0)
                self._befall_all(name, next(cuts) if name in (CUT, LONG_CUT) else 0)
        self.fleet_is_whole()
        if self.plan.away:
            self._befall_all(AWAY, self.plan.away)
            self.pause(AFTERMATH)
            self.fleet_is_whole()

    def all_faults(self) -> list[Fault]:
        """Those of the plan, and those that tasks and the watchdog have brought about."""
        found = list(self.faults)
        for unit in [*self.fleet.units, *self.fleet.ended]:
            for event in unit.events:
                if event.name == "oom":
                    found.append(Fault(OOM, unit.pool.kind, unit.node, event.at))
                elif event.name == "watchdog" and not self._expected(unit, event.at):
                    found.append(Fault(UNASKED, unit.pool.kind, unit.node, event.at))
                elif event.name == "overdue":
                    found.append(Fault(OVERDUE, unit.pool.kind, unit.node, event.at))
                elif event.name == "exit" and self._away(event.at):
                    found.append(Fault(ENDED, unit.pool.kind, unit.node, event.at))
        return sorted(found, key=lambda fault: fault.at)

    def kills(self) -> int:
        """How many processes, groups and hosts' services were killed."""
        count = sum(fault.name in KILLS for fault in self.all_faults())
        return count + sum(len(self.fleet.kinds) - 1 for fault in self.faults if fault.name == GONE)

    def pause(self, seconds: float) -> None:
        """Meanwhile, what has stopped is started again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._tend()
            time.sleep(min(0.1, max(0.0, end - time.monotonic())))

    def fleet_is_whole(self, patience: float = 180.0) -> None:
        """Waits until every service is ready."""
        end = time.monotonic() + patience
        while not all(unit.ready for unit in self.fleet.units):
            if time.monotonic() > end:
                missing = ", ".join(unit.node for unit in self.fleet.units if not unit.ready)
                raise ChaosError(f"not ready within {patience:g} s: {missing}")
            self.pause(0.1)

    def _expected(self, unit: Unit, at: float) -> bool:
        return any(
            fault.name == FROZEN and fault.node == unit.node and 0 < at - fault.at < 30
            for fault in self.faults
        )

    def _away(self, at: float) -> bool:
        """Whether Redis was away for long then, or had just come back; nothing else happens meanwhile."""
        return any(
            fault.name == AWAY and fault.healed and fault.at < at < fault.healed + AFTERMATH
            for fault in self.faults
        )

    def _tend(self) -> None:
        for unit in [unit for unit in self._stopped if not unit.running]:
            self._stopped.remove(unit)
            unit.start()
        self.fleet.producing()

    def _befall(self, name: str, kind: str) -> None:
        unit = self._choose(kind, name)
        if self.rng.random() < 0.5:
            self._wait_for_work(unit)
        pid, at = None, time.monotonic()
        if name == MAIN:
            unit.kill_main()
        elif name == GROUP:
            unit.kill_all()
        elif name == CHILD:
            pid = unit.kill_child(self.rng.choice)
            if pid is None:
                return
        elif name == FROZEN:
            unit.freeze()
        else:
            unit.stop()
            self._stopped.append(unit)
        self.faults.append(Fault(name, kind, unit.node, at, ends_work=name != STOPPED["finish"], pid=pid))
        self.say(f"{name}: {unit.node}")

    def _choose(self, kind: str, name: str) -> Unit:
        """A service of this kind that is whole, when not too many others recover."""
        end = time.monotonic() + 180
        while time.monotonic() < end:
            units = self.fleet.units
            fit = [
                unit for unit in units if unit.pool.kind == kind and unit.ready and not self._in_trouble(unit)
            ]
            fit = [
                unit for unit in fit if name not in STOPPED.values() or STOPPED[unit.pool.stop_policy] == name
            ]
            if fit and sum(not unit.ready for unit in units) < AT_ONCE:
                return self.rng.choice(fit)
            self.pause(0.1)
        raise ChaosError(f"no service of kind {kind} is ready")

    def _in_trouble(self, unit: Unit) -> bool:
        last = next((fault for fault in reversed(self.faults) if fault.node == unit.node), None)
        if last is None or last.name == CHILD:
            return False
        return unit.first("ready", last.at) is None

    def _wait_for_work(self, unit: Unit) -> None:
        """Until it runs a task, a moment at most."""
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            tasks = self._tasks()
            if any(run.node == unit.node and run.end is None for task in tasks for run in task.runs[-1:]):
                return
            self.pause(0.1)

    def _tasks(self) -> list[Task]:
        tasks = read_published(self.fleet.published())
        add_runs(tasks, self.fleet.marks.read_text())
        return list(tasks.values())

    def _befall_all(self, name: str, seconds: float) -> None:
        at = time.monotonic()
        self.say(name)
        if name == GONE:
            self._replace_host(at)
            return
        node = EVERYWHERE
        if name in (CUT, LONG_CUT):
            host = self.rng.choice(sorted(self.fleet.hosts))
            node = f"*@{host}"
            self.fleet.hosts[host].cut()
            self.pause(seconds)
            self.fleet.hosts[host].heal()
        elif name in (RESTARTED, AWAY):
            self.fleet.redis.end(signal.SIGTERM)
            self.pause(seconds or 2)
            self.fleet.redis.start()
        elif name == REDIS_FROZEN:
            self.fleet.redis.signal(signal.SIGSTOP)
            self.pause(self.plan.freeze)
            self.fleet.redis.signal(signal.SIGCONT)
        else:
            self._kill_redis()
        healed = time.monotonic()
        self.faults.append(Fault(name, "all", node, at, healed, ends_work=False))
        self._wait_for_all(self.faults[-1])

    def _kill_redis(self) -> None:
        # With everysec, replies may go out up to two seconds before what they confirm is written to the file.
        with self.fleet.redis.client() as client:
            client.config_set("appendfsync", "always")
        self.pause(self.rng.uniform(1, 2))
        self.fleet.redis.end(signal.SIGKILL)
        self.pause(1)
        self.fleet.redis.start()

    def _replace_host(self, at: float) -> None:
        name = self.rng.choice(sorted(self.fleet.hosts))
        policy = next(unit.pool.stop_policy for unit in self.fleet.units if unit.host.name == name)
        self.fleet.lose_host(name)
        for kind in self.fleet.kinds:
            self.faults.append(Fault(GONE, kind, f"{kind}@{name}", at))
        self._hosts += 1
        self.fleet.add_host(f"n{self._hosts}", policy)
        self.fleet_is_whole()

    def _wait_for_all(self, fault: Fault) -> None:
        """Until each node that it hit has begun a task again."""
        assert fault.healed is not None
        end = time.monotonic() + RECOVERY
        wanted = {unit.node for unit in self.fleet.units if fault.hits(unit.node)}
        missing = wanted
        while missing and time.monotonic() < end:
            self.pause(0.5)
            begun = first_runs({task.id: task for task in self._tasks()}, fault.healed)
            missing = wanted - begun.keys()
        if missing:
            self.say(f"no task began within {RECOVERY:g} s after {fault.name}: {', '.join(sorted(missing))}")
