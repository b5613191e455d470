"""What the console is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from celery_fleet.service.environment import Environment

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """See the README of the role `console`, which writes them. None or empty: not told."""

    environment: Environment
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All of the environment: a variable may change the topology."""
    name: str = "fleet"
    """CONSOLE_NAME: what the dashboard calls the fleet."""
    keys_file: Path | None = None
    """CONSOLE_KEYS_FILE: JSON, name -> {"sha256": hex digest of the key, "role": "viewer" or "operator"}."""
    session_key_file: Path | None = None
    """CONSOLE_SESSION_KEY_FILE: what sessions are signed with; without it they end with the process."""
    alertmanager_url: str = ""
    """CONSOLE_ALERTMANAGER_URL"""
    prometheus_url: str = ""
    """CONSOLE_PROMETHEUS_URL"""
    monitoring_user: str = ""
    """CONSOLE_MONITORING_USER: who the console is for Prometheus and Alertmanager, if they ask."""
    monitoring_password: str = field(default="", repr=False)
    """CONSOLE_MONITORING_PASSWORD_FILE: the password of that user."""
    monitoring_ca_file: Path | None = None
    """CONSOLE_MONITORING_CA_FILE: whom Prometheus and Alertmanager have their certificates from; None: a public authority."""
    trace_url: str = ""
    """CONSOLE_TRACE_URL: with `{trace_id}` where the id goes."""
    rate: float = 50.0
    """CONSOLE_RATE: requests a second that one client may make of one process; twice as many at once. 0: any."""
    body_limit: int = _MIB
    """CONSOLE_BODY_LIMIT: bytes that the body of a request may have."""
    workers: int = 1
    """CONSOLE_WORKERS: processes."""
    trusted_proxies: tuple[str, ...] = ()
    """CONSOLE_TRUSTED_PROXIES: addresses, separated by commas, whose word about the client is taken."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Settings":
        """Raises ValueError for what cannot be."""

        def path(name: str) -> Path | None:
            return Path(variables[name]) if variables.get(name) else None

        settings = cls(
            environment=Environment.read(variables),
            variables=dict(variables),
            name=variables.get("CONSOLE_NAME") or cls.name,
            keys_file=path("CONSOLE_KEYS_FILE"),
            session_key_file=path("CONSOLE_SESSION_KEY_FILE"),
            alertmanager_url=variables.get("CONSOLE_ALERTMANAGER_URL", "").rstrip("/"),
            prometheus_url=variables.get("CONSOLE_PROMETHEUS_URL", "").rstrip("/"),
            monitoring_user=variables.get("CONSOLE_MONITORING_USER", ""),
            monitoring_password=_secret(path("CONSOLE_MONITORING_PASSWORD_FILE")),
            monitoring_ca_file=path("CONSOLE_MONITORING_CA_FILE"),
            trace_url=variables.get("CONSOLE_TRACE_URL", ""),
            rate=_number(variables, "CONSOLE_RATE", cls.rate, 0),
            body_limit=int(_number(variables, "CONSOLE_BODY_LIMIT", cls.body_limit, 1)),
            workers=int(_number(variables, "CONSOLE_WORKERS", cls.workers, 1)),
            trusted_proxies=tuple(
                filter(
                    None, (each.strip() for each in variables.get("CONSOLE_TRUSTED_PROXIES", "").split(","))
                )
            ),
        )
        if settings.workers > 1 and settings.session_key_file is None:
            raise ValueError(
                "CONSOLE_SESSION_KEY_FILE is needed by several CONSOLE_WORKERS: they share sessions"
            )
        return settings


def _secret(file: Path | None) -> str:
    return file.read_text().strip() if file else ""


def _number(variables: Mapping[str, str], name: str, default: float, least: float) -> float:
    text = variables.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise ValueError(f"{name}={text} is no number from {least:g}")
    return value
