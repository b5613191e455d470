"""A fleet and its console on this machine, without containers: Redis, two workers, Beat, the exporter, Prometheus, a console.

    python tests/browser/local.py                          # says where the console is and with which keys; ^C ends it
    python tests/browser/local.py --tasks 100000 --dead 2000

The app is the reference app with the queues, routes and limits of inventories/local. Messages wait in the queues
`reports` and `cleanup`, which nobody consumes here. Pages are read from the source tree: templates that change are seen
with the next request, Python code after `--reload` seconds, or a restart.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from bench.seed import Amounts, seed  # noqa: E402
from consoles import Console, ConsoleProcess, reference_variables  # noqa: E402
from integration.support import (  # noqa: E402
    DIES_WITH_US,
    PASSWORD,
    RedisServer,
    Service,
    Services,
    free_port,
)
from prometheus import PrometheusServer  # noqa: E402

APP = "taskapp.app:app"
POOLS: Mapping[str, tuple[str, str, int]] = {
    "default": ("celery,default,promgen_dlq,cpu_intensive,checks", "prefork", 2),
    "mail": ("email,analytics", "threads", 4),
}
"""Pool: its queues, kind, concurrency. Nobody consumes `reports` and `cleanup`."""

SEEDED = ("reports", "cleanup")


class LocalFleet:
    """What is started, from the first to the last."""

    def __init__(self, directory: Path, amounts: Amounts | None = None) -> None:
        self._directory = directory
        self._amounts = amounts
        (directory / "redis").mkdir(parents=True)
        self.server = RedisServer(directory / "redis", free_port())
        self.services = Services(self.server, directory)
        self.workers: dict[str, Service] = {}
        self.process: ConsoleProcess | None = None
        self.exporter: subprocess.Popen[bytes] | None = None
        self.prometheus: PrometheusServer | None = None

    def start(self, patient: bool = False) -> Console:
        """patient: also when the console does not start."""
        self.server.start()
        environment = self.environment("default")
        if self._amounts:
            seed(environment, self._amounts, SEEDED)
        starting = [self.services.start(["beat", "--schedule=schedule", "-l", "info"], environment)]
        for pool, (_, kind, concurrency) in POOLS.items():
            self.workers[pool] = self.services.worker(
                self.environment(pool), "-n", f"{pool}@%h", pool=kind, concurrency=concurrency
            )
        starting += self.workers.values()
        for service in starting:
            service.wait_ready()
        settings = {
            "CONSOLE_RATE": "1000",  # one browser that is quicker than people are
            "CONSOLE_PROMETHEUS_URL": self._watch(environment),
        }
        self.process = ConsoleProcess(self._directory / "console", environment, settings=settings)
        try:
            return self.process.start()
        except RuntimeError as error:  # its code can be mended, see `restart_console`
            if not patient:
                raise
            print(error, flush=True)
            return self.process.console

    def _watch(self, environment: Mapping[str, str]) -> str:
        """Where the Prometheus is that watches this fleet."""
        address = f"127.0.0.1:{free_port()}"
        with (self._directory / "exporter.log").open("ab") as log:
            self.exporter = subprocess.Popen(
                [*DIES_WITH_US, sys.executable, "-m", "celery_fleet.exporter"],
                env={"PATH": os.environ["PATH"], **environment, "CELERY_EXPORTER_LISTEN": address},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        targets = {"celery": (address, "here")}
        self.prometheus = PrometheusServer(self._directory / "prometheus", targets).start()
        return self.prometheus.url

    def restart_console(self) -> None:
        """With the code as it is now."""
        assert self.process
        self.process.stop()
        try:
            self.process.start()
        except RuntimeError as error:
            print(error, flush=True)

    def environment(self, pool: str) -> dict[str, str]:
        made = self.services.environment(APP, reference_variables(), ROOT / "src", POOLS[pool][0])
        return {**made, "CELERY_FLEET_POOL": pool, "TASKAPP_STATE_DIR": str(self._directory / "taskapp")}

    def stop(self) -> None:
        if self.process:
            self.process.stop()
        if self.prometheus:
            self.prometheus.stop()
        if self.exporter:
            self.exporter.terminate()
            self.exporter.wait()
        self.services.close()
        self.server.stop()


def main() -> int:
    """Start, say where, wait for the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Amounts(tasks=5000, waiting=300, dead=120, audits=80, workers=0, days=0.2)
    parser.add_argument(
        "--tasks", type=int, default=default.tasks, help="indexed (default: %(default)s)", metavar="N"
    )
    parser.add_argument(
        "--waiting", type=int, default=default.waiting, help="messages (default: %(default)s)", metavar="N"
    )
    parser.add_argument(
        "--dead", type=int, default=default.dead, help="letters (default: %(default)s)", metavar="N"
    )
    chosen = parser.parse_args()
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tell(sig: int, _frame: FrameType | None) -> None:
        told.put(sig)

    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, tell)
    directory = Path(tempfile.mkdtemp(prefix="local-fleet-"))
    amounts = replace(default, tasks=chosen.tasks, waiting=chosen.waiting, dead=chosen.dead)
    fleet = LocalFleet(directory, amounts)
    try:
        console = fleet.start(patient=True)
        print(f"console       {console.url}/ui")
        print(f"operator key  {console.operator}")
        print(f"viewer key    {console.viewer}")
        print(f"redis         {fleet.server.url()}  password {PASSWORD}")
        print(f"logs          {directory}")
        print(f"new code      kill -HUP {os.getpid()}", flush=True)
        while told.get() == signal.SIGHUP:
            fleet.restart_console()
    finally:
        fleet.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
