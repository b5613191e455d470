"""An application outside the fleet that sends tasks to it: another machine, the ACL user `client`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import CeleryError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from acceptance.waiting import PATIENCE, eventually
from celery_fleet.install import install
from hosts import Fleet

ECHO = "taskapp.diagnostics.echo"
SLEEP = "taskapp.diagnostics.sleep"
ALLOCATE = "taskapp.diagnostics.allocate"
FAIL = "taskapp.diagnostics.fail"

PRIORITIES = ("", *(f"\x06\x16{step}" for step in range(1, 10)))
"""What follows a queue's name in its lists of messages in Redis, one for each priority."""

_AWAY = (RedisConnectionError, RedisTimeoutError, CeleryError, OSError)


@dataclass(frozen=True)
class Task:
    """A task that was sent."""

    id: str
    application: Application

    @property
    def state(self) -> str:
        """Its state, or `AWAY` while the result backend cannot be asked."""
        return str(self._meta()["status"])

    @property
    def outcome(self) -> Any:
        """What it returned, or the exception that it failed with."""
        return self._meta()["result"]

    @property
    def traceback(self) -> str:
        return str(self._meta().get("traceback"))

    def until(self, *states: str, patience: float = PATIENCE) -> str:
        """Waits for one of these states, and gives it."""
        return eventually(
            lambda: self.state,
            f"task {self.id} is {' or '.join(states)}",
            patience,
            until=lambda s: s in states,
        )

    def result(self, patience: float = PATIENCE) -> Any:
        """What it returned under `result`; waits for it, and fails when it did not succeed."""
        if self.until("SUCCESS", "FAILURE", "REVOKED", patience=patience) != "SUCCESS":
            pytest.fail(f"task {self.id} failed: {self.outcome!r}\n{self.traceback}")
        returned = self.outcome
        assert returned["status"] == "success", returned
        return returned["result"]

    def _meta(self) -> Mapping[str, Any]:
        try:
            meta: Mapping[str, Any] = self.application.celery.backend.get_task_meta(self.id)
        except _AWAY as error:
            return {"status": "AWAY", "result": error}
        return meta


class Application:
    """Sends tasks, and reads their results."""

    def __init__(self, celery: Celery) -> None:
        self.celery = celery

    @classmethod
    def outside(cls, fleet: Fleet, directory: Path, environ: pytest.MonkeyPatch) -> Application:
        """With nothing but the topology, the address of Redis, and the password of `client`."""
        redis, worker = fleet.groups["redis"][0], fleet.groups["workers"][0]
        secrets = Path(fleet.variables(redis)["fleet_secrets_dir"])
        variables = fleet.variables(redis)
        address = variables["ansible_host"]
        place, trust = f"redis://client@{address}:{variables.get('redis_port', 6379)}", ""
        if variables.get("celery_tls"):
            place = f"rediss://client@{address}:{variables.get('redis_tls_port', 6380)}"
            trust = f"?ssl_cert_reqs=required&ssl_ca_certs={secrets}/certificates/authority.pem"
        topology = directory / "topology.json"
        topology.write_text(fleet.host(worker).file("/etc/celery-fleet/topology.json").content_string)
        environment = {
            "CELERY_FLEET_TOPOLOGY": str(topology),
            "CELERY_FLEET_REDIS_PASSWORD_FILE": str(secrets / "redis-client"),
            "CELERY_BROKER_URL": f"{place}/0{trust}",
            "CELERY_RESULT_BACKEND": f"{place}/1{trust}",
        }
        for name, value in environment.items():
            environ.setenv(name, value)
        celery = Celery("outside", set_as_current=False)
        install(celery, environment)
        return cls(celery)

    def close(self) -> None:
        """Ends all connections."""
        self.celery.backend.result_consumer.stop()
        self.celery.backend.client.close()
        self.celery.amqp.producer_pool.force_close_all()
        self.celery.pool.force_close_all()
        self.celery.close()

    def send(
        self, name: str, /, queue: str | None = None, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Task:
        """A task, to the queue that its route says or to `queue`, with options of Celery's `apply_async`."""
        where = {"queue": queue} if queue else {}
        return Task(self.celery.send_task(name, kwargs=kwargs, **where, **(options or {})).id, self)

    def task(self, task_id: str) -> Task:
        """A task that somebody else sent."""
        return Task(task_id, self)

    def echo(self, queue: str, value: Any = None) -> Task:
        """A task that tells who runs it."""
        return self.send(ECHO, queue, value=value)

    def echoes(self, queues: Iterable[str]) -> dict[str, Task]:
        return {queue: self.echo(queue) for queue in queues}

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with self.celery.connection_for_write() as connection:
            client = connection.default_channel.client
            return sum(client.llen(f"{queue}{priority}") for priority in PRIORITIES)

    def revoke(self, *tasks: Task, terminate: bool = False) -> None:
        """Cancels tasks; with `terminate`, those that run, too."""
        self.celery.control.revoke([task.id for task in tasks], terminate=terminate)
