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
    tracing: bool = False
    """CELERY_FLEET_TRACING: `on` or `off`; where traces go, OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT says."""
    trace_ratio: float = 1.0
    """OTEL_TRACES_SAMPLER_ARG: the part of new traces that is kept; whoever was sent by another follows it."""
    tracing_headers_file: Path | None = None
    """CELERY_FLEET_TRACING_HEADERS_FILE: `NAME=VALUE,...` for each request to the backend, secrets among them."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Environment":
        def path(name: str) -> Path | None:
            return Path(variables[name]) if variables.get(name) else None

        def seconds(name: str) -> float | None:
            try:
                return float(variables[name]) if variables.get(name) else None
            except ValueError:
                raise ValueError(f"{name}={variables[name]} is no number of seconds") from None

        def switch(name: str) -> bool:
            if variables.get(name, "") not in ("", "on", "off"):
                raise ValueError(f"{name}={variables[name]} is neither on nor off")
            return variables.get(name) == "on"

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
            tracing=(tracing := switch("CELERY_FLEET_TRACING")),
            trace_ratio=_ratio(variables, "OTEL_TRACES_SAMPLER_ARG") if tracing else 1.0,
            tracing_headers_file=path("CELERY_FLEET_TRACING_HEADERS_FILE"),
        )


def _ratio(variables: Mapping[str, str], name: str) -> float:
    try:
        ratio = float(variables.get(name) or 1.0)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"{name}={variables[name]} is no number from 0 to 1")
    return ratio
