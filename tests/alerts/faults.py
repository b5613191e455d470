"""What goes wrong: each fault is caused on a host, is to be told by its alerts and no others, and is mended."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from acceptance import units
from acceptance.application import ECHO, FAIL, SLEEP, Application, Task
from acceptance.waiting import eventually
from alerts.sink import Told
from hosts import Fleet


@dataclass(frozen=True)
class Alert:
    """An alert that is expected: its name, and the labels that it must have at least."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def is_told_by(self, told: Told) -> bool:
        return told.name == self.name and self.labels.items() <= told.labels.items()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.labels.items())})"


def alert(name: str, /, **labels: str) -> Alert:
    return Alert(name, labels)


@dataclass(frozen=True)
class Fault:
    """`raises`: what must be told; `follows`: what may be told as well, because it is so."""

    name: str
    cause: Callable[[], object]
    mend: Callable[[], object]
    raises: tuple[Alert, ...]
    follows: tuple[Alert, ...] = ()
    goes_on: Callable[[], object] | None = None
    """Called again and again until all is told."""
    makes_up: Callable[[], object] | None = None
    """Called again and again until all has ended."""


class Stage:
    """The fleet of inventories/local, and the faults that can be caused in it."""

    def __init__(self, fleet: Fleet, app: Application) -> None:
        self.fleet, self.app = fleet, app
        (self.redis,) = fleet.groups["redis"]
        (self.beat,) = fleet.groups["beat"]
        (self.monitor,) = fleet.groups["monitoring"]
        self.pools = {pool: host for host in fleet.groups["workers"] for pool in fleet.pools(host)}

    def run(self, host: str, command: str) -> str:
        return str(self.fleet.host(host).check_output(command))

    def queues(self, pool: str) -> list[str]:
        return list(self.fleet.pools(self.pools[pool])[pool]["queues"])

    def killed_worker(self, pool: str) -> Fault:
        """systemd starts it again at once; that it had to is told."""
        host = self.pools[pool]
        return Fault(
            f"SIGKILL of the pool {pool}",
            lambda: self.run(host, f"systemctl kill --signal=KILL --kill-whom=main {units.worker(pool)}"),
            lambda: units.until_ready(self.fleet.host(host), units.worker(pool)),
            (alert("UnitRestarting", instance=host, name=units.worker(pool)),),
        )

    def stopped_pool(self, pool: str) -> Fault:
        host = self.pools[pool]
        return Fault(
            f"stop of the pool {pool}",
            lambda: self.run(host, f"systemctl stop {units.worker(pool)}"),
            lambda: self.run(host, f"systemctl start {units.worker(pool)}"),
            (alert("WorkerMissing", worker=f"{pool}@{host}", instance=host),),
            tuple(alert("QueueNoConsumers", queue_name=queue) for queue in self.queues(pool)),
        )

    def stopped_beat(self) -> Fault:
        return Fault(
            "stop of Beat",
            lambda: self.run(self.beat, "systemctl stop celery-beat"),
            lambda: self.run(self.beat, "systemctl start celery-beat"),
            (alert("BeatStalled"),),
            (alert("BeatEntryLate"),),
        )

    def hanging_task(self, pool: str, queue: str) -> Fault:
        """A thread that nothing can end: it is told when the task is older than its limit."""
        host = self.pools[pool]
        hanging: list[str] = []

        def cause() -> None:
            hanging.append(self.app.send(SLEEP, queue, seconds=3600).id)

        def mend() -> None:
            # It would come back to its queue, and hang again. The command says by a 1 that it runs on for now.
            self.run(host, f"fleet cancel {hanging.pop()} || [ $? = 1 ]")
            self.run(host, f"systemctl kill --signal=KILL {units.worker(pool)}")
            units.until_ready(self.fleet.host(host), units.worker(pool))

        return Fault(
            f"a task hangs in the pool {pool}",
            cause,
            mend,
            (alert("TaskStuck", worker=f"{pool}@{host}", instance=host),),
            (alert("TaskRunningLong"), alert("UnitRestarting", instance=host)),
        )

    def full_disk(self, host: str) -> Fault:
        """A file system of its own, so that nothing else on this machine is short of room.

        In a container a new mount is not seen by services that have mounts of their own: the exporter starts anew.
        """
        place, image = "/srv/full", "/var/tmp/full.img"
        again = "systemctl restart prometheus-node-exporter"
        return Fault(
            f"a full disk on {host}",
            lambda: self.run(
                host,
                f"mkdir -p {place} && truncate -s 64M {image} && mkfs.ext4 -q -F {image} && mount -o loop {image} {place}"
                f" && dd if=/dev/zero of={place}/filling bs=1M count=61 status=none; df {place} | grep -q '9[5-9]%\\|100%'"
                f" && {again}",
            ),
            lambda: self.run(host, f"umount {place} && rm -rf {place} {image} && {again}"),
            (alert("DiskFull", instance=host, mountpoint=place),),
            (alert("DiskFillingUp", instance=host),),
        )

    def failed_unit(self, host: str) -> Fault:
        unit = "celery-fails-on-purpose.service"
        return Fault(
            f"a service fails on {host}",
            # It is to fail, which makes systemd-run fail; if it did not, nobody would be told, and the test would fail
            lambda: self.run(host, f"systemd-run --unit={unit} --service-type=oneshot false || true"),
            lambda: self.run(host, f"systemctl reset-failed {unit}"),
            (alert("UnitFailed", instance=host, name=unit),),
        )

    def paused_queue(self, queue: str) -> Fault:
        host = self.fleet.groups["workers"][0]
        return Fault(
            f"the queue {queue} is paused and forgotten",
            lambda: self.run(host, f"fleet pause {queue}"),
            lambda: self.run(host, f"fleet resume {queue}"),
            (alert("QueuePaused", queue_name=queue),),
        )

    def ending_certificate(self, host: str) -> Fault:
        place = "/etc/celery-fleet/certificates"
        return Fault(
            f"a certificate ends on {host}",
            lambda: self.run(
                host,
                f"mkdir -p {place} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
                f" -subj /CN=ending -keyout /dev/null -out {place}/ending.crt && systemctl start celery-certificate-expiry",
            ),
            lambda: self.run(host, f"rm {place}/ending.crt; systemctl start celery-certificate-expiry"),
            (alert("CertExpiring", instance=host, path=f"{place}/ending.crt"),),
        )

    def flood(self, queue: str) -> Fault:
        """More than its pool can do, of tasks that take a second."""
        sent: list[Task] = []

        def cause() -> None:
            sent.extend(self.app.send(SLEEP, queue, seconds=1) for _ in range(600))

        def mend() -> None:
            self.app.revoke(*sent)

        return Fault(
            f"a flood in the queue {queue}",
            cause,
            mend,
            (alert("QueueLatencyBurn", queue_name=queue),),
            (
                alert("QueueStuck", queue_name=queue),
                alert("QueueLatencyHigh", queue_name=queue),
                alert("BacklogGrowing", queue_name=queue),
                alert("WorkerSaturated"),
            ),
            makes_up=lambda: self.good_work(queue),
        )

    def failures(self, queue: str) -> Fault:
        """Three of ten tasks fail."""

        def some() -> None:
            for number in range(20):
                self.app.send(*((FAIL, queue) if number % 10 < 3 else (ECHO, queue)))

        return Fault(
            f"30 % failures in the queue {queue}",
            some,
            lambda: None,
            (alert("TaskErrorBudgetBurn", queue_name=queue),),
            (alert("TaskFailureRateHigh"), alert("DeadLettersGrowing")),
            goes_on=some,
            makes_up=lambda: self.good_work(queue),
        )

    def good_work(self, queue: str) -> None:
        """A hundred tasks that are done at once."""
        eventually(lambda: self.app.waiting(queue), f"{queue} is empty", until=lambda waiting: not waiting)
        for _ in range(100):
            self.app.echo(queue)

    def full_redis(self) -> Fault:
        """Its limit is brought down to what it has."""

        def cause() -> None:
            said = dict(
                line.split(":", 1) for line in self.redis_cli("INFO", "memory").split() if ":" in line
            )
            self.redis_cli("CONFIG", "SET", "maxmemory", str(int(said["used_memory"]) * 51 // 50))

        return Fault(
            "Redis is full",
            cause,
            lambda: self.redis_cli("CONFIG", "SET", "maxmemory", str(self._configured_memory())),
            (alert("RedisMemoryHigh", instance=self.redis),),
        )

    def dead_redis(self) -> Fault:
        return Fault(
            "Redis is gone",
            lambda: self.run(self.redis, "systemctl stop redis-server"),
            lambda: self.run(self.redis, "systemctl start redis-server"),
            (alert("RedisDown", instance=self.redis),),
        )

    def cut_host(self, host: str) -> Fault:
        """Its network is gone; the host lives."""
        container = f"{self.fleet.variables(host)['testbed_name']}-{host}"

        def link(state: str) -> None:
            command = ["podman", "exec", container, "ip", "link", "set", "eth0", state]
            subprocess.run(command, check=True, capture_output=True, timeout=30)

        def mend() -> None:
            link("up")
            gateway = self.fleet.variables(host)["testbed_subnet"].rsplit(".", 1)[0] + ".1"
            command = ["podman", "exec", container, "ip", "route", "replace", "default", "via", gateway]
            subprocess.run(command, check=True, capture_output=True, timeout=30)

        queues = [queue for pool, at in self.pools.items() if at == host for queue in self.queues(pool)]
        return Fault(
            f"{host} is cut off",
            lambda: link("down"),
            mend,
            (alert("HostDown", instance=host),),
            tuple(alert("QueueNoConsumers", queue_name=queue) for queue in queues),
        )

    def redis_cli(self, *words: str) -> str:
        login = "REDISCLI_AUTH=$(cat /etc/redis/admin.password)"
        command = f"redis-cli -s /run/redis/redis-server.sock --user admin {shlex.join(words)}"
        return str(self.fleet.host(self.redis).check_output(f"{login} {command}"))

    def _configured_memory(self) -> int:
        return int(self.run(self.redis, "sed -n 's/^maxmemory \\([0-9]*\\)$/\\1/p' /etc/redis/redis.conf"))


@contextmanager
def load(app: Application, queues: Iterable[str], pause: float = 0.2) -> Iterator[list[str]]:
    """A healthy trickle of tasks to every queue. Gives the ids of those that were sent."""
    sent: list[str] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(pause):
            for queue in queues:
                sent.append(app.echo(queue).id)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()
