"""What is asked of a host's services, from the host itself: not every address can be reached from elsewhere."""

from __future__ import annotations

import copy
import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testinfra.host import Host

FETCH = """
import json, pathlib, ssl, sys, urllib.error, urllib.request
url, headers = sys.argv[1], json.load(sys.stdin)
secure, own = url.startswith("https:"), pathlib.Path("/etc/prometheus/exporters")
context = ssl.create_default_context(cafile="/etc/ssl/celery-fleet/authority.pem") if secure else None
if secure and own.exists():
    context.load_cert_chain(own / "certificate.pem", own / "certificate.key")
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20, context=context)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""


def run_python(host: Host, program: str, *arguments: object, told: str) -> str:
    """What a program prints that runs as root on the host, and reads `told`: a key, of which no journal tells.

    sudo writes the command that it is given into the journal, so the words come by a pipe from outside it.
    """
    login = copy.copy(host.backend)
    sudo, login.sudo = "sudo " if login.sudo else "", False
    words = " ".join(shlex.quote(str(word)) for word in (program, *arguments))
    return Host(login).check_output(f"printf '%s\\n' {shlex.quote(told)} | {sudo}python3 -c {words}")


def get(
    host: Host, url: str, headers: Mapping[str, str] | None = None, patience: float = 0, until: str = ""
) -> tuple[int, str]:
    """Status and body; asked again until the body has these words, if there is patience."""
    deadline = time.monotonic() + patience
    while True:
        answer = run_python(host, FETCH, url, told=json.dumps(dict(headers or {})))
        status, _, body = answer.partition("\n")
        if until in body or time.monotonic() > deadline:
            return int(status), body
        time.sleep(2)


def addresses_of(host: Host, port: int) -> set[str]:
    """Where somebody listens on this port."""
    lines = (line.split() for line in host.check_output("ss -H -ltn").splitlines())
    return {words[3].rsplit(":", 1)[0] for words in lines if words[3].endswith(f":{port}")}


def secret(variables: Mapping[str, Any], name: str) -> str:
    """What the roles made and keep on this machine."""
    default = f"~/.local/share/celery-fleet/{Path(str(variables.get('inventory_dir', '.'))).name}/secrets"
    directory = Path(str(variables.get("fleet_secrets_dir", default))).expanduser()
    return (directory / name).read_text().strip()


def url_of(variables: Mapping[str, Any], place: str) -> str:
    """What listens at an `address:port` of the inventory: beyond loopback by TLS, if the fleet speaks it."""
    secured = variables.get("celery_tls") and not place.startswith("127.")
    return f"{'https' if secured else 'http'}://{place}"


def entrance(variables: Mapping[str, Any], fleet: Any, port: int) -> str:
    """Where the edge of this host listens, as a URL."""
    alone = "127.0.0.1" if len(fleet.names) == 1 else None
    names = ("edge_address", "base_address")
    given = next((variables[name] for name in names if variables.get(name)), None)
    address = given or alone or variables["ansible_host"]
    tls = variables.get("edge_certificate", variables.get("celery_tls"))
    return f"{'https' if tls else 'http'}://{address}:{port}"
