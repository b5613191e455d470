"""What the exporter is told by its environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery_fleet.service.environment import Environment
from celery_fleet.topology.model import QueueSettings
from celery_fleet.topology.urgency import EXECUTION_TARGETS, QUEUEING_TARGETS

INDICATORS = ("queueing", "execution")

Targets = Mapping[str, Mapping[str, float | None]]
"""Queue -> indicator -> seconds; None: no target."""


@dataclass(frozen=True)
class Expected:
    """A worker that should be there."""

    worker: str
    """Its node: pool@host."""
    pool: str
    hostname: str


@dataclass(frozen=True)
class Settings:
    """See the role `monitoring`, which writes them."""

    environment: Environment
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All of the environment: a variable may change the topology."""
    host: str = "127.0.0.1"
    port: int = 9808
    """CELERY_EXPORTER_LISTEN: host:port."""
    expected: tuple[Expected, ...] = ()
    """CELERY_EXPORTER_EXPECTED: a JSON file, [{"worker": ..., "pool": ..., "hostname": ...}, ...]."""
    targets: Targets = field(default_factory=dict)
    """CELERY_EXPORTER_SLOS: a JSON file, {queue: {"queueing": seconds or null, "execution": ...}}."""
    objectives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """In the same file, {queue: {"objectives": {"queueing": percent, ...}}}: which part of the tasks should meet it."""

    def target(self, queue: QueueSettings, indicator: str) -> float | None:
        """Seconds; what no file says follows from the urgency of the queue."""
        if queue.name in self.targets:
            return self.targets[queue.name][indicator]
        return (QUEUEING_TARGETS if indicator == "queueing" else EXECUTION_TARGETS)[queue.urgency]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Settings":
        """Raises ValueError, in one line that says which variable is wrong and how to mend it."""
        host, port = cls.host, cls.port
        if listen := variables.get("CELERY_EXPORTER_LISTEN"):
            host, _, number = listen.rpartition(":")
            if not host or not number.isdigit() or not 0 <= int(number) < 65536:
                raise ValueError(f"CELERY_EXPORTER_LISTEN={listen}: write an address as 127.0.0.1:9808")
            host, port = host.strip("[]"), int(number)
        told = _json(variables, "CELERY_EXPORTER_SLOS", {})
        return cls(
            environment=Environment.read(variables),
            variables=dict(variables),
            host=host,
            port=port,
            expected=_expected(_json(variables, "CELERY_EXPORTER_EXPECTED", [])),
            targets=_targets(told),
            objectives=_objectives(told),
        )


def _json(variables: Mapping[str, str], name: str, default: Any) -> Any:
    path = variables.get(name)
    if not path:
        return default
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"{name}={path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{name}={path} is no JSON: {error}") from None


def _expected(told: Any) -> tuple[Expected, ...]:
    try:
        return tuple(Expected(str(each["worker"]), str(each["pool"]), str(each["hostname"])) for each in told)
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"CELERY_EXPORTER_EXPECTED: it must be a list of objects with worker, pool and hostname ({error})"
        ) from None


def _targets(told: Any) -> Targets:
    try:
        return {
            str(queue): {
                name: None if target.get(name) is None else float(target[name]) for name in INDICATORS
            }
            for queue, target in told.items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"CELERY_EXPORTER_SLOS: it must name seconds, or null, by queue and indicator ({error})"
        ) from None


def _objectives(told: Any) -> Mapping[str, Mapping[str, float]]:
    try:
        return {
            str(queue): {str(name): float(share) for name, share in target.get("objectives", {}).items()}
            for queue, target in told.items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"CELERY_EXPORTER_SLOS: objectives are percentages by indicator ({error})") from None
