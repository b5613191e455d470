"""A process in the place of a service: under the service's own unit, as it is deployed, with another program."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testinfra.host import Host

Attempt = tuple[str, str]
"""What is tried, and on what: see attempts.py."""

_PLACE = "/run/celery-attempts"
_PROGRAM = Path(__file__).with_name("attempts.py")
_OTHER_PROGRAM = ("Exec", "Environment", "Restart", "Watchdog", "Timeout", "OOM", "StartLimit")
_OTHER_KIND = {
    "Type",
    "NotifyAccess",
    "PIDFile",
    "Slice",
    "KillMode",
    "KillSignal",
    "Sockets",
    "WorkingDirectory",
}


@dataclass(frozen=True)
class Answer:
    """What came of an attempt."""

    allowed: bool
    text: str


def in_place_of(host: Host, unit: str, attempts: Sequence[Attempt]) -> dict[Attempt, Answer]:
    """What a service may do, by a process that systemd starts as it starts the service."""
    kept = "\n".join(_sandbox_of(host.check_output(f"systemctl cat {unit}")))
    name, _, instance = unit.removesuffix(".service").partition("@")
    copy = f"celery-attempts-{name}{'@' if instance else ''}{instance}.service"
    _put(host, f"/run/systemd/system/{copy.replace(f'@{instance}.', '@.')}", _unit(kept))
    _put(host, f"{_PLACE}/attempts.py", _PROGRAM.read_text())
    _put(host, f"{_PLACE}/wanted.json", json.dumps(attempts))
    host.check_output(f"rm -f {_PLACE}/answers.json && systemctl daemon-reload")
    started = host.run(f"systemctl start {copy}")
    assert started.rc == 0, f"{copy} {host.run(f'journalctl --no-pager --unit={copy} --lines=20').stdout}"
    found = json.loads(host.file(f"{_PLACE}/answers.json").content_string)
    host.check_output(f"rm -rf {_PLACE} /run/systemd/system/celery-attempts-* && systemctl daemon-reload")
    return {attempt: Answer(*answer) for attempt, answer in zip(attempts, found, strict=True)}


def as_user(host: Host, user: str, attempts: Sequence[Attempt]) -> dict[Attempt, Answer]:
    """What a user may do who is in no sandbox."""
    _put(host, f"{_PLACE}/attempts.py", _PROGRAM.read_text())
    _put(host, f"{_PLACE}/wanted.json", json.dumps(attempts))
    command = f"runuser -u {user} -- /usr/bin/python3 {_PLACE}/attempts.py < {_PLACE}/wanted.json"
    found = json.loads(host.check_output(command))
    host.check_output(f"rm -rf {_PLACE}")
    return {attempt: Answer(*answer) for attempt, answer in zip(attempts, found, strict=True)}


def _sandbox_of(text: str) -> list[str]:
    """The lines of a unit's [Service] that do not say what it runs, and when."""
    lines: list[str] = []
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line
        key = line.partition("=")[0]
        if (
            section == "[Service]"
            and "=" in line
            and not line.startswith("#")
            and not (key.startswith(_OTHER_PROGRAM) and not key.startswith("ExecPaths"))
            and key not in _OTHER_KIND
        ):
            lines.append(line)
    return lines


def _unit(sandbox: str) -> str:
    return f"""[Service]
{sandbox}
Type=oneshot
# What the service has there stays.
RuntimeDirectoryPreserve=yes
RemoveIPC=no
StandardInput=file:{_PLACE}/wanted.json
StandardOutput=truncate:{_PLACE}/answers.json
StandardError=journal
ExecStart=/usr/bin/python3 {_PLACE}/attempts.py
"""


def _put(host: Host, path: str, text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    host.check_output(
        f"install -d -m 0755 $(dirname {path}) && echo {encoded} | base64 -d > {path} && chmod 0644 {path}"
    )
