"""The filters `nft_rules` and `nft_user_rules`: who reaches which ports, as rules of nftables."""

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
        name, protocol = _name(rule), str(rule.get("protocol", "tcp"))
        if protocol not in ("tcp", "udp"):
            raise AnsibleFilterError(f"firewall rule {name}: {protocol!r} is not a protocol: use tcp or udp")
        sources = [str(source) for source in rule["from"]]
        ports = _ports(name, rule["ports"])
        if not ports:
            continue
        to = f'{protocol} dport {{ {", ".join(ports)} }} counter accept comment "{name}"'
        if ANY in sources:
            rules.append(to)
            continue
        rules += [f"{family} saddr {which} {to}" for family, which in _by_family(name, sources)]
    return rules


def nft_user_rules(wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """What refuses the users of a host that are not named, one rule for each family of addresses.

    `wanted`: name, ports, to (addresses, networks, names), users.
    """
    rules: list[str] = []
    for rule in wanted:
        name, users = _name(rule), [str(user) for user in rule["users"]]
        odd = [user for user in users if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}|\d{1,10}", user)]
        if odd or not users:
            raise AnsibleFilterError(
                f"firewall rule {name}: {', '.join(map(repr, odd)) or 'none'} is no user: give names or numbers, one at least"
            )
        ports = _ports(name, rule["ports"])
        refusal = (
            f"tcp dport {{ {', '.join(ports)} }} meta skuid != {{ {', '.join(users)} }}"
            f' counter reject with tcp reset comment "{name}"'
        )
        places = _by_family(name, [str(place) for place in rule["to"]])
        rules += [f"{family} daddr {which} {refusal}" for family, which in places if ports]
    return rules


def _by_family(name: str, places: Sequence[str]) -> list[tuple[str, str]]:
    """(ip, a set of networks) and (ip6, ...), as nftables writes them; a family that has none is left out."""
    networks = [network for place in places for network in _networks(name, place)]
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        mine = [str(network) for network in ipaddress.collapse_addresses(_of(networks, version))]
        if mine:
            found.append((family, f"{{ {', '.join(mine)} }}"))
    return found


def _name(rule: Mapping[str, Any]) -> str:
    name = str(rule["name"])
    if not re.fullmatch(r"[^\"\\\n]{1,100}", name):
        raise AnsibleFilterError(
            f"{name!r} is not a name of a firewall rule: use up to 100 characters, no quotes"
        )
    return name


def _ports(name: str, ports: Sequence[object]) -> list[str]:
    return sorted({_port(name, port) for port in ports}, key=lambda port: int(port.split("-")[0]))


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
        return {"nft_rules": nft_rules, "nft_user_rules": nft_user_rules}
