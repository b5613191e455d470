"""How exposed each service is, by systemd's own figure: as it runs, and as it would without the fleet's sandbox."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping

from audit.findings import NOTHING, AuditError, Finding
from infra.test_sandbox import LIMIT, LIMITS, SERVICES
from unit.ansible.plugins import load

FIGURES = "systemd-analyze security --no-pager --json=short"
OURS = "/etc/systemd/"
"""Where units are that the fleet wrote; all others came with Debian's packages."""

SANDBOX = sorted(
    {name for lines in load("sandbox", "filter").SANDBOX.values() for name in lines}
    | {"AmbientCapabilities", "PrivateNetwork", "ProcSubset"}  # what single units add
)
_PREFIX = "before-"
"""Under another name a unit has no drop-ins."""
_OVERALL = re.compile(rf"Overall exposure level for {_PREFIX}(\S+\.service): ([0-9.]+)")


def figures(text: str) -> dict[str, float]:
    """From 0 (it can do nothing) to 10, of each service of the fleet."""
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise AuditError(f"systemd-analyze gave no JSON: {text[:200]!r}") from error
    return {row["unit"]: float(row["exposure"]) for row in rows if SERVICES.match(row["unit"])}


def fragments_of(units: Iterable[str]) -> str:
    """The command that tells where the files of units are."""
    return f"systemctl show --property=Id,FragmentPath -- {' '.join(map(shlex.quote, units))}"


def fragments(text: str) -> dict[str, str]:
    """Its answer: blocks of lines, an empty line between them."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return {block["Id"]: block["FragmentPath"] for block in blocks if block.get("FragmentPath")}


def without_sandbox(directory: str, files: Mapping[str, str]) -> str:
    """Copies units into `directory`: Debian's as they came, the fleet's without the lines of the sandbox. Judges these."""
    lines = []
    for unit, path in files.items():
        take = f"grep -vE '^({'|'.join(SANDBOX)})='" if path.startswith(OURS) else "cat"
        lines.append(f"{take} {shlex.quote(path)} > {shlex.quote(f'{directory}/{_PREFIX}{unit}')}")
    # A unit that cannot be judged alone shows in the answer as one that is missing.
    lines.append(
        f"systemd-analyze security --offline=true --no-pager {directory}/*.service 2>/dev/null | grep Overall || true"
    )
    return "\n".join(lines)


def overall(text: str) -> dict[str, float]:
    """The figures of the copies, by the names of the units that they are copies of."""
    return {unit: float(figure) for unit, figure in _OVERALL.findall(text)}


def findings(host: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[Finding]:
    """One for each service, which fails above its limit."""
    if not after:
        raise AuditError(f"{host} has no service of the fleet; was site.yml run for it?")
    found = []
    for unit, figure in sorted(after.items()):
        limit = LIMITS.get(unit, LIMIT)
        problems = (
            () if figure <= limit else (f"systemd says {figure}, the limit is {limit}: see its sandbox",)
        )
        found.append(
            Finding(
                host,
                unit.removesuffix(".service"),
                str(before.get(unit, NOTHING)),
                str(figure),
                "FAILED" if problems else "ok",
                problems,
                {"limit": limit},
            )
        )
    return found
