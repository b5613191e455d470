"""The fleet's own checks of a host: commands that only read, and what their answers mean."""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from audit.findings import AuditError
from fleetsecrets import told
from infra.test_sandbox import SERVICES

SOCKETS = "ss --no-header --listening --numeric --tcp --udp"
FIREWALL = "nft --json list table inet celery_fleet 2>/dev/null || true"
REDIS_USERS = (
    "REDISCLI_AUTH=$(cat /etc/redis/admin.password)"
    " redis-cli -s /run/redis/redis-server.sock --no-auth-warning --user admin ACL LIST"
)
PROCESSES = "ps -ww -eo euid=,comm=,unit="
WRITABLE = (
    "find /etc /opt /usr/local /srv /var/lib /var/log /var/spool /run -xdev"
    r" \( -type f -o -type d -o -type s \) -perm -o=w ! \( -type d -perm -1000 \)"
)
"""Of a directory like /tmp, where all may write and nobody may remove what is not his, the bit 1000 is told."""

# What everybody may read, as a tar: it is searched here, because the secrets have no business on other hosts.
READABLE = (
    'runuser -u nobody -- sh -c "find /etc /opt /var/lib /var/log /run /home /root -xdev'
    r" \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /etc/ssl/certs -o -path '/opt/*/lib' \) -prune"
    ' -o -type f -readable -size -4096k -print0 2>/dev/null"'
    " | tar --create --null --files-from=- --ignore-failed-read 2>/dev/null | gzip | base64 --wrap=0"
)

ROOT_NEEDED: Mapping[str, int] = {"nginx.service": 1}
"""How many processes may be root's: nginx's one that holds the ports."""

_OURS = re.compile(r"/(celery|fleet|redis|prometheus|nginx)")


def sockets(text: str) -> list[tuple[str, str, int]]:
    """Protocol, address and port of each that others may reach."""
    found = set()
    for line in text.splitlines():
        kind, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        address, _, device = address.strip("[]").partition("%")
        if device == "lo" or (address != "*" and _is_loopback(address)):
            continue
        found.add((kind, address, int(port)))
    return sorted(found)


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def accepted(text: str) -> list[tuple[str, range]]:
    """Protocols and ports that the rules of `nft --json` let in, from wherever."""
    found: list[tuple[str, range]] = []
    for entry in json.loads(text)["nftables"]:
        statements = entry.get("rule", {}).get("expr", [])
        if not any("accept" in statement for statement in statements):
            continue
        for match in (statement["match"] for statement in statements if "match" in statement):
            payload = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
            if payload.get("field") == "dport" and match["op"] == "==":
                found += [(payload["protocol"], ports) for ports in _ports(match["right"])]
    return found


def _ports(right: Any) -> Iterator[range]:
    if isinstance(right, int):
        yield range(right, right + 1)
    elif "range" in right:
        first, last = right["range"]
        yield range(first, last + 1)
    else:
        for each in right["set"]:
            yield from _ports(each)


def unknown_sockets(listening: str, rules: str) -> list[str]:
    """Who listens without a rule that says who may come."""
    if not rules.strip():
        return ["there is no firewall: systemctl status celery-firewall; a run of site.yml starts it"]
    known = accepted(rules)
    return [
        f"{kind} {address} port {port} listens, and no rule of the firewall names it: who is it (ss -lnp)?"
        for kind, address, port in sockets(listening)
        if not any(kind == protocol and port in ports for protocol, ports in known)
    ]


def weak_users(text: str) -> list[str]:
    """Of Redis's answer to ACL LIST: who gets in without a password."""
    users = [line.split() for line in text.splitlines() if line.startswith("user ")]
    if not users:
        raise AuditError(f"Redis did not tell its users: {text.strip()[:200]!r}")
    problems = [
        f"the user {words[1]} gets in without a password"
        for words in users
        if "on" in words[2:] and "nopass" in words[2:]
    ]
    if not any(words[1] == "default" and "off" in words[2:] for words in users):
        problems.append("the user default is on; the fleet's users.acl has it off")
    return problems


def readable_secrets(answer: str, secrets: Mapping[str, str]) -> list[str]:
    """Files that nobody's user may read, and the names of the secrets in them."""
    if not secrets:
        raise AuditError("this machine has no secrets of the fleet: is fleet_secrets_dir the right one?")
    files = dict(_files(base64.b64decode(answer)))
    if not files:
        raise AuditError("the host sent no file that everybody may read, and there are always some")
    return [
        f"everybody may read {name} in /{path}"
        for path, text in files.items()
        for name in told(secrets, text)
    ]


def _files(archive: bytes) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for member in members:
            data = members.extractfile(member) if member.isfile() else None
            if data is not None:
                yield member.name, data.read().decode(errors="replace")


def writable(text: str) -> list[str]:
    """Files, directories and sockets of the fleet that everybody may write."""
    return [
        f"everybody may write {path}: chmod o-w, and see who made it so"
        for path in text.splitlines()
        if _OURS.search(path)
    ]


def root_services(text: str) -> list[str]:
    """Services of the fleet with more processes of root than they need."""
    counts = Counter(unit for uid, unit in _owners(text.splitlines()) if uid == 0 and SERVICES.match(unit))
    return [
        f"{unit} has {count} processes of root, and needs {ROOT_NEEDED.get(unit, 0)}"
        for unit, count in sorted(counts.items())
        if count > ROOT_NEEDED.get(unit, 0)
    ]


def _owners(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        uid, program, *_, unit = line.split()
        # In brackets: still systemd itself, which becomes the service's user before it starts the program.
        if not program.startswith("("):
            yield int(uid), unit
