"""The filter `sandbox`: what a service of the fleet may do beyond reading its files and talking to the network: nothing.

`{{ {} | sandbox }}` gives the lines of a unit. A unit that needs more, or less, names the difference:
`{'PrivateDevices': false}` leaves a line out, a text takes its place, a list is added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

Value = str | bool | list[str]

SANDBOX: Mapping[str, Mapping[str, str]] = {
    "It gains no rights, by no program that it starts.": {
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "RestrictSUIDSGID": "yes",
    },
    "It writes into the directories that are its own, and sees no home, no device and nobody else's processes.": {
        "ProtectSystem": "strict",
        # `strict` should say that, too, and does not beside some of the others.
        "ReadOnlyPaths": "/run",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "ProtectProc": "invisible",
        "UMask": "0027",
    },
    "It changes nothing of the machine.": {
        "ProtectClock": "yes",
        "ProtectHostname": "yes",
        "ProtectKernelTunables": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelLogs": "yes",
        "ProtectControlGroups": "yes",
        "RestrictRealtime": "yes",
    },
    "It asks the kernel for what a service needs, and for nothing that breaks out of it.": {
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces": "yes",
        "LockPersonality": "yes",
        "MemoryDenyWriteExecute": "yes",
        "SystemCallArchitectures": "native",
        "SystemCallFilter": "@system-service",
        "SystemCallErrorNumber": "EPERM",
    },
}
"""Why, and by which directives."""


def sandbox(difference: Mapping[str, Value]) -> str:
    """The lines of a unit's [Service]."""
    if not isinstance(difference, Mapping):
        raise AnsibleFilterError(f"sandbox takes the differences as a mapping, not {difference!r}")
    known = {name for directives in SANDBOX.values() for name in directives}
    lines: list[str] = []
    for reason, directives in SANDBOX.items():
        found = [
            line for name, value in directives.items() for line in _lines(name, value, difference.get(name))
        ]
        lines += [f"# {reason}", *found] if found else []
    others = [name for name in difference if name not in known]
    return "\n".join([*lines, *(line for name in others for line in _lines(name, "", difference[name]))])


def opened(difference: Mapping[str, Value]) -> str:
    """The lines of a drop-in that opens a sandbox: lists add to those of the unit, all else takes their place.

    A capability is given, not only allowed: a service that is not root has none otherwise.
    """
    lines: list[str] = []
    for name, value in difference.items():
        lines += _lines(name, "", value if value is not False else "no")
        if name == "AmbientCapabilities":
            lines += _lines("CapabilityBoundingSet", "", value)
    return "\n".join(lines)


def _lines(name: str, value: str, difference: Value | None) -> Iterator[str]:
    if difference is False:
        return
    if isinstance(difference, list):
        # What is denied needs a line of its own.
        words = [value, *(word for word in difference if not word.startswith("~"))]
        yield from (f"{name}={line}" for line in [" ".join(filter(None, words))] if line)
        yield from (f"{name}={word}" for word in difference if word.startswith("~"))
    elif difference is True:
        yield f"{name}=yes"
    else:
        yield f"{name}={value if difference is None else difference}"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sandbox": sandbox, "opened": opened}
