"""Who reaches which ports, as rules of nftables."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from unit.ansible.plugins import load

FIREWALL = load("firewall", "filter")
nft_rules = FIREWALL.FilterModule().filters()["nft_rules"]
nft_user_rules = FIREWALL.FilterModule().filters()["nft_user_rules"]


def rule(**values: Any) -> dict[str, Any]:
    return {"name": "Redis", "ports": [6379], "from": ["10.0.0.1"], **values}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, ['ip saddr { 10.0.0.1/32 } tcp dport { 6379 } counter accept comment "Redis"']),
        ({"from": ["any"]}, ['tcp dport { 6379 } counter accept comment "Redis"']),
        # Nobody is not everybody.
        ({"from": []}, []),
        ({"ports": []}, []),
        ({"protocol": "udp", "from": ["any"]}, ['udp dport { 6379 } counter accept comment "Redis"']),
        (
            {"from": ["10.0.0.1", "fd00::1", "10.0.0.0/24", "10.0.0.1"]},
            [
                'ip saddr { 10.0.0.0/24 } tcp dport { 6379 } counter accept comment "Redis"',
                'ip6 saddr { fd00::1/128 } tcp dport { 6379 } counter accept comment "Redis"',
            ],
        ),
        (
            {"ports": ["6000-6010", 80, "443", 80], "from": ["any"]},
            ['tcp dport { 80, 443, 6000-6010 } counter accept comment "Redis"'],
        ),
    ],
)
def test_rules(values: dict[str, Any], lines: list[str]) -> None:
    assert nft_rules([rule(**values)]) == lines


def test_a_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 0)) for address in ("192.0.2.7", "2001:db8::7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    assert [line.split(" tcp")[0] for line in nft_rules([rule(**{"from": ["app.example.org"]})])] == [
        "ip saddr { 192.0.2.7/32 }",
        "ip6 saddr { 2001:db8::7/128 }",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"from": ["no such host"]}, "neither an address nor a network"),
        ({"ports": [0]}, "'0' is not a port"),
        ({"ports": [65536]}, "'65536' is not a port"),
        ({"ports": ["9-1"]}, "'9-1' is not a port"),
        ({"ports": ["22; drop"]}, "is not a port"),
        ({"protocol": "icmp"}, "'icmp' is not a protocol"),
        ({"name": 'x" accept'}, "is not a name"),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        nft_rules([rule(**values)])


def local(**values: Any) -> dict[str, Any]:
    return {"name": "exporters", "ports": [9100], "to": ["10.0.0.1"], "users": ["root"], **values}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (
            {
                "to": ["10.0.0.1", "127.0.0.0/8", "::1"],
                "ports": [9121, 9100],
                "users": ["root", "prometheus"],
            },
            [
                f"{family} tcp dport {{ 9100, 9121 }} meta skuid != {{ root, prometheus }} "
                'counter reject with tcp reset comment "exporters"'
                for family in ("ip daddr { 10.0.0.1/32, 127.0.0.0/8 }", "ip6 daddr { ::1/128 }")
            ],
        ),
        ({"ports": []}, []),
        ({"to": []}, []),
    ],
)
def test_rules_of_users(values: dict[str, Any], lines: list[str]) -> None:
    assert nft_user_rules([local(**values)]) == lines


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"users": []}, "none is no user"),
        ({"users": ["root }; drop"]}, "is no user"),
        ({"to": ["no such host"]}, "neither an address nor a network"),
        ({"ports": ["x"]}, "'x' is not a port"),
        ({"name": 'x" accept'}, "is not a name"),
    ],
)
def test_refusals_of_users(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        nft_user_rules([local(**values)])
