"""What an audit found: rows of one table, and what was wrong in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "FAILED", "note"]
"""note: worth knowing, and for you to judge. FAILED alone makes the audit fail."""

HEADINGS = ("host", "what", "before", "after", "verdict")
NOTHING = "-"


class AuditError(Exception):
    """Why something could not be looked at; shown as it is."""


@dataclass(frozen=True)
class Finding:
    """One row. problems: what is wrong, one sentence each; data: all of it, for the report in full."""

    host: str
    what: str
    before: str
    after: str
    verdict: Verdict
    problems: tuple[str, ...] = ()
    data: Any = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def checked(host: str, what: str, problems: Sequence[str], good: str = "none") -> Finding:
    """The finding of a check that wants no problem."""
    if not problems:
        return Finding(host, what, NOTHING, good, "ok")
    return Finding(host, what, NOTHING, str(len(problems)), "FAILED", tuple(problems))


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The same found on several hosts is one row that names them all."""
    hosts: dict[tuple[str, ...], list[Finding]] = {}
    for each in findings:
        hosts.setdefault((each.what, each.before, each.after, each.verdict), []).append(each)
    return [
        Finding(" ".join(dict.fromkeys(each.host for each in same)), *key)  # type: ignore[arg-type]
        for key, same in hosts.items()
    ]


def table(findings: Sequence[Finding]) -> str:
    """One line for each, under headings."""
    rows = [HEADINGS, *((f.host, f.what, f.before, f.after, f.verdict) for f in merged(findings))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def wrong(findings: Iterable[Finding]) -> list[str]:
    """What made the audit fail, one line each."""
    return [
        f"{each.host}: {each.what}: {problem}"
        for each in findings
        if each.verdict == "FAILED"
        for problem in each.problems or (each.after,)
    ]
