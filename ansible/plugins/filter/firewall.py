"""The filter `nft_rules`: who reaches which ports, as rules of nftables."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleFilterError

ANY = "any"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def nft_rules(wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """One rule for each family of addresses.

    `wanted`: name, ports, from (addresses, networks, names, or `any`; none: nobody), protocol (tcp unless it is said).
    """
    rules: list[str] = []
    for rule in wanted:
        name, protocol = str(rule["name"]), str(rule.get("protocol", "tcp"))
        if not re.fullmatch(r"[^\"\\\n]{1,100}", name):
            raise AnsibleFilterError(
                f"{name!r} is not a name of a firewall rule: use up to 100 characters, no quotes"
            )
        if protocol not in ("tcp", "udp"):
            raise AnsibleFilterError(f"firewall rule {name}: {protocol!r} is not a protocol: use tcp or udp")
        sources = [str(source) for source in rule["from"]]
        ports = sorted(
            {_port(name, port) for port in rule["ports"]}, key=lambda port: int(port.split("-")[0])
        )
        if not ports:
            continue
        to = f'{protocol} dport {{ {", ".join(ports)} }} counter accept comment "{name}"'
        if ANY in sources:
            rules.append(to)
            continue
        networks = [network for source in sources for network in _networks(name, source)]
        for version, family in ((4, "ip"), (6, "ip6")):
            mine = [str(network) for network in ipaddress.collapse_addresses(_of(networks, version))]
            if mine:
                rules.append(f"{family} saddr {{ {', '.join(mine)} }} {to}")
    return rules


def _of(networks: Sequence[Network], version: int) -> list[Any]:
    return [network for network in networks if network.version == version]


def _port(name: str, port: object) -> str:
    text = str(port)
    numbers = [int(part) for part in text.split("-")] if re.fullmatch(r"\d{1,5}(-\d{1,5})?", text) else [0]
    if not all(0 < number < 65536 for number in numbers) or numbers != sorted(numbers):
        raise AnsibleFilterError(
            f"firewall rule {name}: {text!r} is not a port: give 1 to 65535, or a range such as 6000-6010"
        )
    return text


def _networks(name: str, source: str) -> list[Network]:
    with suppress(ValueError):  # else it is a name
        return [ipaddress.ip_network(source, strict=False)]
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(source, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise AnsibleFilterError(
            f"firewall rule {name}: {source!r} is neither an address nor a network, and this machine cannot resolve it; "
            "give an address (for a host of the fleet: base_address or ansible_host)"
        ) from None
    return [ipaddress.ip_network(address.partition("%")[0]) for address in sorted(found)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"nft_rules": nft_rules}
