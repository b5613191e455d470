"""testssl.sh, from this machine against each place of the fleet that may speak TLS."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.findings import Finding

if TYPE_CHECKING:
    from hosts import Fleet

LONGEST = 600
LONGEST_QUICK = 90
NAMES = {
    "SSLv2": "SSL 2",
    "SSLv3": "SSL 3",
    "TLS1": "TLS 1.0",
    "TLS1_1": "TLS 1.1",
    "TLS1_2": "TLS 1.2",
    "TLS1_3": "TLS 1.3",
}
"""testssl.sh's names of protocols, and everybody's."""
GOOD = {"TLS 1.2", "TLS 1.3"}
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")

_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Place:
    """An address and a port where programs or people come in."""

    host: str
    name: str
    address: str
    port: int


def places(fleet: Fleet, hosts: Sequence[str]) -> list[Place]:
    """By what the inventory says of the groups redis and edge."""
    found = []
    for host in hosts:
        said = fleet.variables(host)
        address = str(said.get("base_address") or said.get("ansible_host", host))
        if host in fleet.groups.get("redis", ()):
            tls = bool(said.get("celery_tls"))
            port = said.get("redis_tls_port", 6380) if tls else said.get("redis_port", 6379)
            found.append(Place(host, "Redis", address, int(port)))
        if host in fleet.groups.get("edge", ()):
            tls = bool(said.get("celery_tls") or said.get("edge_certificate"))
            entrance = str(said.get("edge_address", address))
            ports = said.get("edge_console_ports", [80])
            for port in sorted({443, *ports} - {80}) if tls else ports:
                found.append(Place(host, "nginx", entrance, int(port)))
            if fleet.groups.get("flower") and said.get("edge_flower_port", 5555):
                found.append(Place(host, "Flower", entrance, int(said.get("edge_flower_port", 5555))))
    return found


def speaks_tls(place: Place) -> bool:
    """Whether a handshake begins there; OSError when nobody listens."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((place.address, place.port), 5) as plain:
        plain.settimeout(5)
        try:
            with context.wrap_socket(plain):
                return True
        except (ssl.SSLError, TimeoutError, ConnectionResetError):
            return False


def command(place: Place, authority: Path, result: Path, *, quick: bool) -> list[str]:
    """Of testssl.sh; `timeout` ends it with all that it started."""
    return [
        *("timeout", "--kill-after=5", str(LONGEST_QUICK if quick else LONGEST), "testssl"),
        *(
            "--quiet",
            "--warnings",
            "batch",
            "--color",
            "0",
            "--connect-timeout",
            "5",
            "--openssl-timeout",
            "5",
        ),
        # Names are not needed for an address, and asking for them takes time where nobody answers.
        *("--nodns", "none"),
        *(("--add-ca", str(authority)) if authority.exists() else ()),
        *(("--protocols",) if quick else ()),
        *("--jsonfile", str(result), f"{place.address}:{place.port}"),
    ]


def parse(text: str) -> list[dict[str, Any]]:
    """Its findings; also of a file that ends early, because the time was over."""
    found = []
    for match in _OBJECT.findall(text):
        try:
            found.append(json.loads(match, strict=False))
        except ValueError:
            continue
    return found


def protocols(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is offered, oldest first."""
    said = {each["id"]: str(each["finding"]) for each in results}
    return [name for key, name in NAMES.items() if said.get(key, "").startswith("offered")]


def unfinished(results: Sequence[Mapping[str, Any]], longest: int) -> str:
    """Why testssl.sh did not look at all of it, or nothing."""
    for each in results:
        if each["severity"] == "FATAL":
            return str(each["finding"])
    return "" if any(each["id"] == "scanTime" for each in results) else f"cut off after {longest} s"


def finding(place: Place, results: Sequence[Mapping[str, Any]], *, quick: bool) -> Finding:
    """Fails for a protocol older than TLS 1.2, what testssl.sh calls critical, and a place of which it saw nothing."""
    said = {str(each["id"]): str(each["finding"]) for each in results}
    offered = protocols(results)
    problems = [f"offers {name}: nothing below TLS 1.2 should be" for name in offered if name not in GOOD]
    problems += [f"{each['id']}: {each['finding']}" for each in results if each["severity"] == "CRITICAL"]
    stopped = unfinished(results, LONGEST_QUICK if quick else LONGEST)
    if not offered:
        problems.append(f"no protocol was seen: {stopped or 'the whole answer is in build/audit'}")
    parts = [", ".join(offered)]
    if "overall_grade" in said:  # from testssl.sh 3.2 on
        parts.append(f"grade {said['overall_grade']}")
    if not quick:
        counts = Counter(str(each["severity"]) for each in results)
        parts.append(", ".join(f"{counts[name]} {name.lower()}" for name in SEVERITIES))
    if stopped:
        parts.append("unfinished")
    return Finding(
        place.host,
        f"{place.name}, port {place.port}",
        "in clear",
        "; ".join(filter(None, parts)) or "no answer",
        "FAILED" if problems else "note" if stopped else "ok",
        tuple(problems),
        {
            "unfinished": stopped,
            "findings": [each for each in results if each["severity"] not in ("OK", "INFO", "DEBUG")],
        },
    )


def out_of_reach(place: Place, error: OSError) -> Finding:
    """The firewall lets in whom the inventory names, and this machine need not be among them."""
    name = f"{place.name}, port {place.port}"
    return Finding(
        place.host, name, "in clear", "out of reach from here", "note", data={"unfinished": str(error)}
    )


def in_clear(place: Place) -> Finding:
    """A choice of the inventory, `celery_tls`, and no failure."""
    return Finding(place.host, f"{place.name}, port {place.port}", "in clear", "in clear", "note")
