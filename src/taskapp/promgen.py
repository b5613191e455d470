"""Prometheus targets and rules of a server, and alert notifications."""

import base64
import hashlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from celery import Celery
from celery.result import AsyncResult
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from taskapp import web
from taskapp.app import app as taskapp
from taskapp.errors import FatalError, TransientError
from taskapp.files import write_atomically
from taskapp.operation import operation
from taskapp.records import Line, once
from taskapp.settings import HttpUrl, Name, current
from taskapp.store import current_store

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?):([0-9]{1,5})")


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError("not a host:port")
    return value


Target = Annotated[str, AfterValidator(_address)]
Duration = Annotated[str, Field(pattern=r"^([0-9]+(ms|[smhdwy]))+$")]
PROMTOOL_TIMEOUT = 20
"""Seconds."""
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class TargetGroup(BaseModel):
    """Targets (host:port) that share labels: one entry of a Prometheus `file_sd` file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: list[Target]
    labels: dict[LabelName, str] = {}


class Rule(BaseModel):
    """A recording or an alerting rule; its expression is checked by promtool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expr: Annotated[str, Field(min_length=1, max_length=10_000)]
    record: Line | None = None
    alert: Line | None = None
    for_: Duration | None = Field(default=None, alias="for")
    labels: dict[LabelName, str] = {}
    annotations: dict[LabelName, str] = {}


class RuleGroup(BaseModel):
    """Rules that are evaluated one after the other: one group of a Prometheus rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Line
    interval: Duration | None = None
    rules: list[Rule]


@operation("promgen.tasks.write_targets")
def write_targets(_self: Any, server: Name, job: Name, groups: list[TargetGroup]) -> dict[str, Any]:
    """Write the targets of a job to `<targets_dir>/<job>.json` on this host and have Prometheus reload.

    The task belongs to the queue named after `server` (see `send_to_server`). Only valid groups are ever
    written; when Prometheus does not accept the reload, the previous file comes back.
    """
    content = json.dumps([group.model_dump() for group in groups], indent=2, sort_keys=True).encode() + b"\n"
    changed = give_to_prometheus(current().targets_dir / f"{job}.json", content)
    return {"server": server, "targets": sum(len(group.targets) for group in groups), **changed}


@operation("promgen.tasks.write_rules")
def write_rules(_self: Any, server: Name, name: Name, groups: list[RuleGroup]) -> dict[str, Any]:
    """Write rules to `<rules_dir>/<name>.yml` on this host and have Prometheus reload.

    The task belongs to the queue named after `server`. Only what promtool accepts is ever written; when
    Prometheus does not accept the reload, the previous file comes back.
    """
    settings = current()
    document = {"groups": [group.model_dump(by_alias=True, exclude_defaults=True) for group in groups]}
    content = json.dumps(document, indent=2).encode() + b"\n"  # JSON is YAML
    changed = give_to_prometheus(
        settings.rules_dir / f"{name}.yml", content, lambda part: check_rules(settings.promtool, part)
    )
    return {"server": server, "rules": sum(len(group.rules) for group in groups), **changed}


def check_rules(promtool: str, path: Path) -> None:
    """`FatalError` when promtool does not accept the rules of a file, or is not there."""
    program = shutil.which(promtool)
    if program is None:
        raise FatalError(f"{promtool} is not installed on this host, and rules are not written unchecked")
    try:
        run = subprocess.run(  # noqa: S603 - the program is the operator's choice, the file is ours
            [program, "check", "rules", str(path)],
            capture_output=True,
            text=True,
            timeout=PROMTOOL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"promtool took longer than {PROMTOOL_TIMEOUT} s") from error
    if run.returncode:
        reason = " ".join((run.stdout + run.stderr).replace(str(path), path.name).split())
        raise FatalError(f"promtool refused the rules: {reason[:500]}")


def give_to_prometheus(
    path: Path, content: bytes, check: Callable[[Path], None] = lambda _: None
) -> dict[str, Any]:
    """Write a file of Prometheus' configuration, if it is another one, and have Prometheus reload.

    `check` sees the file before it lands. When Prometheus refuses the reload, the previous file comes back.
    """
    url, timeout = current().prometheus_reload_url, current().http_timeout
    previous = path.read_bytes() if path.exists() else None
    if content != previous:
        write_atomically(path, content, check=check)
    if url is not None:
        try:
            reload_prometheus(url, timeout)
        except (FatalError, TransientError):
            restore(path, previous)
            raise
    return {
        "host": socket.gethostname(),
        "path": str(path),
        "changed": content != previous,
        "reloaded": url is not None,
    }


def reload_prometheus(url: str, timeout: float) -> None:
    """Tell Prometheus to read its configuration again; `FatalError` when it refuses what it read."""
    authority = current().prometheus_ca_file
    with web.request("POST", url, timeout=timeout, headers=authorization(), authority=authority) as response:
        if response.status_code == 500:
            # Prometheus says so of a configuration that it cannot load; trying again changes nothing.
            reason = web.read_limited(response, 64 * 1024).decode(errors="replace").strip()
            raise FatalError(f"Prometheus refused the configuration: {reason[:500]}")
        web.expect_success(response)


def authorization() -> dict[str, str]:
    """The header that Prometheus asks for; `FatalError` when the credentials cannot be read."""
    file = current().prometheus_credentials_file
    if file is None:
        return {}
    try:
        credentials = file.read_bytes().strip()
    except OSError as error:
        raise FatalError(f"the credentials of Prometheus cannot be read: {error.strerror}") from error
    return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def restore(path: Path, previous: bytes | None) -> None:
    """Put back what was there before."""
    if previous is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, previous)


@operation("promgen.tasks.notify")
def notify(
    _self: Any, payload: dict[str, JsonValue], url: HttpUrl | None = None, idempotency_key: Line | None = None
) -> dict[str, Any]:
    """Post an alert to a webhook, once per `idempotency_key` (default: once per payload and URL).

    The key is sent as the header `Idempotency-Key`, by which the receiver recognises a repeat.
    """
    settings = current()
    url = url or settings.webhook_url
    if url is None:
        raise FatalError("neither the call nor TASKAPP_WEBHOOK_URL names a webhook")
    body = json.dumps(payload, sort_keys=True).encode()
    key = idempotency_key or hashlib.sha256(url.encode() + b"\0" + body).hexdigest()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    with once(current_store(), "webhook", key, lease=2 * settings.http_timeout) as todo:
        if todo:
            with web.request(
                "POST", url, timeout=settings.http_timeout, body=body, headers=headers
            ) as response:
                web.expect_success(response)
    return {"host": web.host(url), "idempotency_key": key, "sent": todo}


def send_to_server(server: str, task: str, *, app: Celery = taskapp, **kwargs: Any) -> AsyncResult:
    """Send a task about a server to the queue named after it, which that host alone consumes.

    `server` becomes the task's parameter too. A name that cannot be a queue's is a `ValueError`.
    """
    TypeAdapter(Name).validate_python(server)
    return app.send_task(task, kwargs={"server": server, **kwargs}, queue=server)
