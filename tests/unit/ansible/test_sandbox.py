"""The lines that make a unit's sandbox, and those that open it for one pool."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from unit.ansible.plugins import load

FILTERS = load("sandbox", "filter").FilterModule().filters()


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_service_without_differences_has_all_of_it() -> None:
    lines = settings(FILTERS["sandbox"]({}))
    assert {"NoNewPrivileges=yes", "CapabilityBoundingSet=", "SystemCallFilter=@system-service"} <= set(lines)
    assert len(lines) == len({line.partition("=")[0] for line in lines})


@pytest.mark.parametrize(
    ("difference", "line", "instead"),
    [
        ({"ProtectClock": False}, None, "ProtectClock=yes"),
        ({"ProtectHome": "read-only"}, "ProtectHome=read-only", "ProtectHome=yes"),
        (
            {"RestrictAddressFamilies": ["AF_NETLINK"]},
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        ),
        ({"PrivateNetwork": True}, "PrivateNetwork=yes", None),
        ({"SystemCallFilter": ["~@privileged"]}, "SystemCallFilter=~@privileged", None),
    ],
)
def test_a_difference(difference: dict[str, Any], line: str | None, instead: str | None) -> None:
    """`line` comes, and the line `instead` goes; the others stay."""
    before, after = settings(FILTERS["sandbox"]({})), settings(FILTERS["sandbox"](difference))
    assert set(after) - set(before) == ({line} if line else set())
    assert set(before) - set(after) == ({instead} if instead else set())


def test_each_group_says_why() -> None:
    text = FILTERS["sandbox"]({})
    assert text.startswith("# ")
    assert all(line.startswith("# ") and line.endswith(".") for line in text.splitlines() if line[0] == "#")


def test_no_mapping() -> None:
    with pytest.raises(AnsibleFilterError, match="as a mapping"):
        FILTERS["sandbox"]("all")


def test_opened() -> None:
    opening = {
        "ReadWritePaths": ["/srv/a", "-/srv/b"],
        "PrivateDevices": False,
        "MemoryDenyWriteExecute": True,
        "ProtectHome": "read-only",
        "AmbientCapabilities": ["CAP_NET_RAW"],
    }
    assert FILTERS["opened"](opening).splitlines() == [
        "ReadWritePaths=/srv/a -/srv/b",
        "PrivateDevices=no",
        "MemoryDenyWriteExecute=yes",
        "ProtectHome=read-only",
        "AmbientCapabilities=CAP_NET_RAW",
        # It has to be allowed, too.
        "CapabilityBoundingSet=CAP_NET_RAW",
    ]
