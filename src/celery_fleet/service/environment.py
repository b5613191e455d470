"""The environment variables that the runtime is configured by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """What a service is told by its environment; None or empty is what it is not told."""

    app: str = ""
    """CELERY_FLEET_APP: the user's app as `module:attribute`, or a module that has one."""
    topology: Path | None = None
    """CELERY_FLEET_TOPOLOGY: the topology file."""
    pool: str = ""
    """CELERY_FLEET_POOL: the name of the worker pool."""
    queues: tuple[str, ...] = ()
    """CELERY_FLEET_QUEUES: the queues that the pool must hold to be ready, separated by commas."""
    broker_url: str = ""
    """CELERY_BROKER_URL, without a password."""
    state_url: str = ""
    """CELERY_FLEET_STATE_URL: where the fleet's state is, without a password; else beside the broker's database."""
    password_file: Path | None = None
    """CELERY_FLEET_REDIS_PASSWORD_FILE: the password for the broker and the result backend."""
    log_file: str = ""
    """CELERY_FLEET_LOG_FILE: the log goes there too."""
    release: str = ""
    """CELERY_FLEET_RELEASE: the id of the deployed release."""
    stop_timeout: float | None = None
    """CELERY_FLEET_STOP_TIMEOUT: seconds that running tasks have to end on a stop; then they are put back."""
    on_connection_loss: str = "continue"
    """CELERY_FLEET_ON_CONNECTION_LOSS: whether running tasks `continue` or are ended (`cancel`) and run again."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Environment":
        def path(name: str) -> Path | None:
            return Path(variables[name]) if variables.get(name) else None

        def seconds(name: str) -> float | None:
            try:
                return float(variables[name]) if variables.get(name) else None
            except ValueError:
                raise ValueError(f"{name}={variables[name]} is no number of seconds") from None

        return cls(
            app=variables.get("CELERY_FLEET_APP", ""),
            topology=path("CELERY_FLEET_TOPOLOGY"),
            pool=variables.get("CELERY_FLEET_POOL", ""),
            queues=tuple(filter(None, variables.get("CELERY_FLEET_QUEUES", "").split(","))),
            broker_url=variables.get("CELERY_BROKER_URL", ""),
            state_url=variables.get("CELERY_FLEET_STATE_URL", ""),
            password_file=path("CELERY_FLEET_REDIS_PASSWORD_FILE"),
            log_file=variables.get("CELERY_FLEET_LOG_FILE", ""),
            release=variables.get("CELERY_FLEET_RELEASE", ""),
            stop_timeout=seconds("CELERY_FLEET_STOP_TIMEOUT"),
            on_connection_loss=variables.get("CELERY_FLEET_ON_CONNECTION_LOSS") or "continue",
        )
