"""Lynis: shell scripts, which run on a host out of a directory and leave nothing there."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from audit.findings import NOTHING, AuditError, Finding

PARTS = {
    "lynis": "/usr/sbin/lynis",
    "include": "/usr/share/lynis/include",
    "db": "/usr/share/lynis/db",
    "plugins": "/etc/lynis/plugins",
    "default.prf": "/etc/lynis/default.prf",
}
"""Where Debian's package has what the directory needs, by its name there."""

QUICK = "firewalls ssh file_permissions homedirs"
"""Groups of tests that are done in seconds."""

LONGEST = 600


@dataclass(frozen=True)
class Result:
    """What Lynis says of a machine. index: of 100, where more is better."""

    version: str
    index: int
    tests: int
    warnings: tuple[str, ...]
    suggestions: tuple[str, ...]


def pack(target: Path, parts: Mapping[str, str] = PARTS) -> None:
    """The scripts as a tar; root's, whoever packs them, because Lynis runs nothing of somebody else."""
    missing = [source for source in parts.values() if not Path(source).exists()]
    if missing:
        raise AuditError(f"there is no {missing[0]}: install Lynis by `scripts/setup audit`")

    def of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, source in parts.items():
            archive.add(source, name, filter=of_root)
    target.write_bytes(buffer.getvalue())


def command(directory: str, *, quick: bool, refresh: bool) -> str:
    """Runs it in `directory`, and prints the report. refresh: whether it may fetch the lists of Debian's packages."""
    words = [
        *("sh", "./lynis", "audit", "system", "--usecwd", "--quick", "--quiet", "--no-colors"),
        *("--profile", "./default.prf", "--log-file", "/dev/null", "--report-file", "./report.dat"),
        *(("--no-plugins", "--tests-from-group", f"'{QUICK}'") if quick else ("--plugin-dir", "./plugins")),
    ]
    keep = "" if refresh else "sed -i s/^refresh-repositories=.*/refresh-repositories=no/ default.prf && "
    run = f"timeout {LONGEST} {' '.join(words)} >/dev/null 2>&1"
    return f"cd {directory} && {keep}{{ {run} || test $? -ne 124; }} && cat report.dat"


def parse(report: str) -> Result:
    """Lynis's own report: one `name=value` a line, and `name[]=` for each of several."""
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {"warning[]": [], "suggestion[]": []}
    for line in report.splitlines():
        name, _, value = line.partition("=")
        if name in several:
            # id|what|details|solution|, where "-" means none
            several[name].append(": ".join(part for part in value.split("|")[:3] if part not in ("", "-")))
        else:
            single[name] = value
    if single.get("finish") != "true" or not single.get("hardening_index", "").isdigit():
        raise AuditError("Lynis did not come to its end: its report has no hardening_index and finish=true")
    return Result(
        version=single.get("lynis_version", "?"),
        index=int(single["hardening_index"]),
        tests=int(single.get("lynis_tests_done", 0)),
        warnings=tuple(several["warning[]"]),
        suggestions=tuple(several["suggestion[]"]),
    )


def findings(host: str, before: Result | None, after: Result) -> list[Finding]:
    """Notes, never failures: what Lynis suggests is for the owner of a host to decide."""

    def text(result: Result | None) -> str:
        if result is None:
            return NOTHING
        return f"{result.index}/100; warnings {len(result.warnings)}, suggestions {len(result.suggestions)}"

    data = {
        "before": asdict(before) if before else None,
        "after": asdict(after),
        "new": new(before.warnings + before.suggestions, after.warnings + after.suggestions)
        if before
        else [],
    }
    return [Finding(host, "Lynis", text(before), text(after), "note", data=data)]


def new(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What it says now and did not say before."""
    return sorted((Counter(after) - Counter(before)).elements())
