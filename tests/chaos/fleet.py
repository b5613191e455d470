"""The fleet that chaos is brought upon: a Redis, two hosts with a pool of each kind, producers that never give up."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stage import WITH_US, ChaosError, Host, Network, RedisServer, close_all, until

from celery_fleet.topology.document import topology_document
from deployed import pool_environments
from unit import Pool, Unit, cleared_environment

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MEBIBYTE = 1 << 20
KINDS = ("prefork", "threads", "gevent", "solo")
CONCURRENCY = {"prefork": 3, "threads": 4, "gevent": 10}
SHARE = {"prefork": 0.37, "threads": 0.27, "gevent": 0.28, "solo": 0.08}
"""Of the tasks; each kind of pool has a queue with its name."""
MEMORY = 400 * MEBIBYTE
STOP_POLICY = {"a": "finish", "b": "requeue"}
STOP_GRACE = 30  # seconds, as in the unit's TimeoutStopSec
STOP_TIMEOUT = 4  # seconds, of the policy requeue
WATCHDOG = 10.0
STOCK_SHARE = 0.2  # of the tasks come from a client that does not know the fleet

VARIABLES: dict[str, Any] = {
    "celery_app": "chaosapp:app",
    "celery_queues": {kind: {} for kind in KINDS},
    "celery_default_queue": "prefork",
    "celery_retry": {"delay": 1, "max_retries": "forever", "jitter": False, "backoff": 1},
    "celery_time_limit": 60,
    "celery_soft_time_limit": 50,
    # What may be killed a hundred times is not to be taken for poison.
    "celery_max_deliveries": 1000,
    "celery_recovery_timeout": 10,
}


def variables(delivery: str | None) -> dict[str, Any]:
    """Of the inventory."""
    return {**VARIABLES, **({"celery_delivery": delivery} if delivery else {})}


def make_plan(rng: random.Random, rate: float, seconds: float, kinds: Sequence[str]) -> list[list[Any]]:
    """Tasks of mixed length in time: [seconds from now, queue, how, seconds, countdown, priority]."""
    plan = []
    for number in range(int(rate * seconds)):
        at = number / rate
        queue = rng.choices(kinds, [SHARE[kind] for kind in kinds])[0]
        sort = rng.random()
        how, length = "sleep", rng.uniform(0, 0.02)
        if sort < 0.01:
            length = rng.uniform(6, 9)
        elif sort < 0.04:
            length = rng.uniform(1, 3)
        elif sort < 0.12:
            length = rng.uniform(0.2, 0.5)
        elif sort < 0.16:
            how, length = "spin", 0.02
        elif sort < 0.19:
            how = "fail"
        countdown = rng.uniform(1, 8) if rng.random() < 0.04 else None
        priority = rng.randint(1, 10) if rng.random() < 0.3 else None
        plan.append([round(at, 3), queue, how, round(length, 3), countdown, priority])
    return plan


def add_hungry(plan: list[list[Any]], kinds: Sequence[str], every: float) -> None:
    """Puts tasks that eat all memory into the plan, one after each so many seconds."""
    for number, kind in enumerate(kinds, 1):
        plan.append([number * every, kind, "hungry", 0, None, None])
    plan.sort(key=lambda task: task[0])


class Fleet:
    """Everything that runs. `close` ends it."""

    def __init__(self, directory: Path, delivery: str | None, kinds: tuple[str, ...]) -> None:
        self.directory = directory
        self.kinds = kinds
        self.marks = directory / "marks"
        self.marks.touch()
        self._delivery = delivery
        self._numbers = iter(range(11, 250))
        self._producers: list[subprocess.Popen[bytes]] = []
        self.network = Network()
        self.redis = RedisServer(directory / "redis", self.network.address)
        self.hosts: dict[str, Host] = {}
        self.units: list[Unit] = []
        self.ended: list[Unit] = []
        """Of hosts that are gone."""

    def start(self) -> None:
        self.redis.start()
        topology = self.directory / "topology.json"
        topology.write_text(json.dumps(topology_document(variables(self._delivery))))
        for name, stop_policy in STOP_POLICY.items():
            self.add_host(name, stop_policy)
        self.wait_ready()

    def add_host(self, name: str, stop_policy: str) -> None:
        host = Host(name, next(self._numbers))
        self.hosts[name] = host
        for pool in self._pools(stop_policy):
            self.units.append(Unit(host, pool, self.directory, WATCHDOG, self.environment()))

    def lose_host(self, name: str) -> None:
        """It vanishes, and its name is never seen again."""
        gone = [unit for unit in self.units if unit.host.name == name]
        self.units = [unit for unit in self.units if unit not in gone]
        self.hosts.pop(name).vanish()  # before its services are removed: nobody stops them
        for unit in gone:
            unit.remove()
        self.ended += gone

    def wait_ready(self, patience: float = 90.0) -> None:
        until(lambda: all(unit.ready for unit in self.units), "readiness of all services", patience)

    def environment(self) -> dict[str, str]:
        """Of the services."""
        return {
            **cleared_environment(),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(HERE / "apps"))),
            "CHAOS_MARKS": str(self.marks),
            "CELERY_FLEET_APP": VARIABLES["celery_app"],
            "CELERY_FLEET_TOPOLOGY": str(self.directory / "topology.json"),
            "CELERY_FLEET_RELEASE": "r1",
            "CELERY_BROKER_URL": self.redis.url(0),
            "CELERY_RESULT_BACKEND": self.redis.url(1),
            "CELERY_FLEET_REDIS_PASSWORD_FILE": str(self.redis.password_file),
        }

    def produce(self, plan: list[list[Any]], rng: random.Random) -> None:
        """Starts to publish: most by a client of the fleet, some by one with nothing but Celery."""
        stock = {name: value for name, value in self.environment().items() if "FLEET" not in name}
        for database, name in ((0, "CELERY_BROKER_URL"), (1, "CELERY_RESULT_BACKEND")):
            stock[name] = self.redis.url(database, password=True)
        chosen = [rng.random() < STOCK_SHARE for _ in plan]
        for name, environment, wanted in (("fleet", self.environment(), False), ("stock", stock, True)):
            tasks = [task for task, is_stock in zip(plan, chosen, strict=True) if is_stock is wanted]
            path = self.directory / f"plan-{name}.json"
            path.write_text(json.dumps(tasks))
            with (self.directory / f"producer-{name}.log").open("ab") as log:
                self._producers.append(
                    subprocess.Popen(
                        [
                            *WITH_US,
                            sys.executable,
                            str(HERE / "apps" / "producer.py"),
                            str(path),
                            str(self._ledger(name)),
                        ],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )

    def stop_producing(self) -> None:
        """Each producer ends when what it publishes at this moment is confirmed."""
        for producer in self._producers:
            producer.terminate()

    def producing(self) -> bool:
        """Raises ChaosError when a producer has failed."""
        codes = [producer.poll() for producer in self._producers]
        if any(codes):
            raise ChaosError(f"a producer has ended with {codes}; see {self.directory}/producer-*.log")
        return None in codes

    def published(self) -> list[str]:
        return [path.read_text() for path in map(self._ledger, ("fleet", "stock")) if path.exists()]

    def _ledger(self, name: str) -> Path:
        return self.directory / f"published-{name}"

    def _pools(self, stop_policy: str) -> list[Pool]:
        pools: dict[str, dict[str, Any]] = {}
        for kind in self.kinds:
            pools[kind] = {"queues": [kind], "kind": kind, "stop_policy": stop_policy}
            if kind in CONCURRENCY:
                pools[kind]["concurrency"] = CONCURRENCY[kind]
            if kind == "prefork":
                pools[kind]["memory_per_child"] = "300M"
            if stop_policy == "requeue":
                pools[kind]["stop_timeout"] = STOP_TIMEOUT
        environments: Mapping[str, Mapping[str, str]] = pool_environments(
            {**variables(self._delivery), "celery_worker_pools": pools}
        )
        return [
            Pool(
                kind,
                kind,
                environments[kind],
                MEMORY,
                stop_policy,
                float(environments[kind]["CELERY_FLEET_STOP_TIMEOUT"]) + STOP_GRACE,
            )
            for kind in self.kinds
        ]

    def close(self) -> None:
        for producer in self._producers:
            producer.kill()
            producer.wait()
        close_all([unit.remove for unit in self.units])
        close_all([host.vanish for host in self.hosts.values()])
        close_all([self.redis.close, self.network.close])
