"""Every setting of the app, read from the environment.

The variable is the field's name in upper case with the prefix `TASKAPP_`: `smtp_host` is `TASKAPP_SMTP_HOST`.
An empty variable counts as unset.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AnyHttpUrl, BaseModel, BeforeValidator, ConfigDict, Field, Json, ValidationError

from taskapp.errors import FatalError

PREFIX = "TASKAPP_"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
"""The name of an application, a server, a job: safe as a file name and as a queue name."""

HttpUrl = Annotated[str, BeforeValidator(lambda value: value and str(AnyHttpUrl(value)).rstrip("/"))]
"""An http or https URL, kept as text."""


class Application(BaseModel):
    """An application whose health is checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    health_url: HttpUrl
    metadata_url: HttpUrl | None = None
    active: bool = True


def _default_state_dir() -> Path:
    """Where systemd says (`StateDirectory=`), else the user's own state directory."""
    if directory := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(directory) / "taskapp"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "taskapp"


class Settings(BaseModel):
    """The settings, with their defaults; durations are in seconds."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    state_dir: Path = Field(default_factory=_default_state_dir)
    """Directory of the SQLite store and of all that tasks write."""
    applications: Json[list[Application]] = Field(default=[])
    """JSON list of applications to check: `[{"id": "shop", "health_url": "http://..."}]`."""
    http_timeout: float = Field(default=10, gt=0, le=300)
    """Timeout of every HTTP request."""

    smtp_host: str | None = None
    """Mail server. Unset: mail is delivered into the maildir `<state_dir>/maildir`."""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    """Port of the mail server."""
    smtp_starttls: bool = False
    """Whether the connection to the mail server must be encrypted (STARTTLS, certificate verified)."""
    smtp_user: str | None = None
    """User at the mail server. Unset: no authentication."""
    smtp_password_file: Path | None = None
    """File that holds the password of `smtp_user`."""
    smtp_timeout: float = Field(default=10, gt=0, le=300)
    """Timeout of every step of an SMTP dialogue."""
    mail_from: str = Field(default="taskapp@localhost", pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    """Sender's address; its domain is also that of the Message-IDs."""

    webhook_url: HttpUrl | None = None
    """Where `promgen.tasks.notify` posts when the call names no URL."""
    prometheus_targets_dir: Path | None = None
    """Directory that Prometheus reads with `file_sd_configs`. Unset: `<state_dir>/targets`."""
    prometheus_rules_dir: Path | None = None
    """Directory that Prometheus reads as `rule_files: [<directory>/*.yml]`. Unset: `<state_dir>/rules`."""
    promtool: str = "promtool"
    """The program that checks rules before Prometheus is given them."""
    prometheus_reload_url: HttpUrl | None = None
    """Reload endpoint, such as `http://localhost:9090/-/reload`. Unset: Prometheus is not told."""
    prometheus_ca_file: Path | None = None
    """Whom Prometheus has its certificate from, when the reload endpoint is https. Unset: a public authority."""
    prometheus_credentials_file: Path | None = None
    """File with `user:password`, if Prometheus asks for them."""

    celery: str = "taskapp.app:app"
    """The Celery app that `python -m taskapp.demo` uses, as `module:attribute`."""
    demo_timeout: float = Field(default=60, gt=0)
    """How long the demo waits for all its tasks."""
    demo_health_url: HttpUrl | None = None
    """URL that the demo's health check asks. Unset: the demo leaves the health check out."""
    demo_servers: str = ""
    """Servers (names of their queues, separated by commas) for which the demo writes Prometheus targets."""
    demo_targets: str = "localhost:9090"
    """The targets (host:port, separated by commas) that the demo writes for each of those servers."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings of `environment`; `FatalError` names every variable that is wrong."""
        values = {
            name: value
            for name in cls.model_fields
            if (value := environment.get(PREFIX + name.upper(), "")) != ""
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise FatalError(
                "; ".join(
                    f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
                    for problem in error.errors(include_url=False, include_input=False, include_context=False)
                )
            ) from None

    @property
    def targets_dir(self) -> Path:
        """The directory of Prometheus target files."""
        return self.prometheus_targets_dir or self.state_dir / "targets"

    @property
    def rules_dir(self) -> Path:
        """The directory of Prometheus rule files."""
        return self.prometheus_rules_dir or self.state_dir / "rules"


def current() -> Settings:
    """The settings of this process's environment, as it is now."""
    return Settings.from_environment(os.environ)
