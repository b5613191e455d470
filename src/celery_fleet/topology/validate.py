"""Checks the variables of all hosts of a fleet, before any host is touched."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .fields import MISSING, filled, plain
from .host_queues import with_host_queues
from .pools import host_pool_problems
from .problem import Problem, Where, listed, show
from .variables import DEFAULTS, FLEET, HOST, VARIABLES, misspelt_variables, read_variables
from .work import read_work

_AT_MOST_ONE = {
    "redis": "one server holds all queues: leave one host in the group",
    "beat": "two Beats would start every periodic task twice: leave one host in the group",
    "monitoring": "leave one host in the group",
    "logs": "every host sends its journal to one: leave one host in the group",
    "tracing": "every process sends its traces to one: leave one host in the group",
}
_GROUPS = ("workers", *_AT_MOST_ONE, "console", "flower", "edge")


@dataclass(frozen=True)
class _Host:
    address: str
    variables: Mapping[str, Any]


def validate_fleet(fleet: Mapping[str, Any]) -> list[Problem]:
    """Every fault of a fleet; an empty list when there is none.

    `fleet` is {"groups": {"redis": [host, ...], "workers": [...], "beat": [...], "monitoring": [...],
    "console": [...], "flower": [...], "edge": [...], "logs": [...]},
    "hosts": {host: {"address": "10.0.0.1", "vars": {"celery_app": ..., ...}}}}. Without an address, it is the
    host's name. Hosts that are in none of the groups are not looked at.
    """
    groups, hosts, found = _read_fleet(plain(fleet))
    own = with_host_queues({name: host.variables for name, host in hosts.items()}, groups["workers"])
    hosts = {name: replace(host, variables=own.variables[name]) for name, host in hosts.items()}
    found += own.problems
    found += _group_problems(groups)
    found += _redis_address_problems(groups["redis"], hosts)
    found += _differing_variables(hosts)
    found += _merged({name: _host_problems(host, name in groups["workers"]) for name, host in hosts.items()})
    found += _beat_problems(groups["beat"], hosts)
    found += _unconsumed_queues([hosts[name] for name in groups["workers"]])
    return list(dict.fromkeys(own.own_place(problem) for problem in found))


def _host_problems(host: _Host, is_worker: bool) -> list[Problem]:
    work, problems = read_work(host.variables)
    own, own_problems = read_variables(host.variables, HOST)
    problems += own_problems
    problems += misspelt_variables(host.variables)
    return problems + (host_pool_problems(work, own, problems) if is_worker else [])


def _read_fleet(fleet: object) -> tuple[dict[str, list[str]], dict[str, _Host], list[Problem]]:
    """The groups, and the hosts that are in one of them."""
    found: list[Problem] = []

    def mapping(value: object, where: Where) -> Mapping[Any, Any]:
        if isinstance(value, Mapping):
            return value
        found.append(
            Problem(where, f"{show(value)} is not a mapping", "give the hosts and groups of the inventory")
        )
        return {}

    top = mapping(fleet, ())
    given_groups = mapping(top.get("groups", {}), ("groups",))
    given_hosts = mapping(top.get("hosts", {}), ("hosts",))
    groups: dict[str, list[str]] = {}
    for group in _GROUPS:
        names = given_groups.get(group, [])
        if not isinstance(names, list):
            found.append(
                Problem(("groups", group), f"{show(names)} is not a list of hosts", "list host names")
            )
            names = []
        groups[group] = []
        for member in names:
            if isinstance(member, str) and member in given_hosts:
                groups[group] += [] if member in groups[group] else [member]
            else:
                what = f"{show(member)} is not a host of the inventory"
                found.append(Problem(("groups", group), what, "define the host, or remove it from the group"))
    hosts = {}
    members = {member for group in groups.values() for member in group}
    for name in [name for name in given_hosts if name in members]:
        host = mapping(given_hosts[name], ("hosts", name))
        address = host.get("address", name)
        if not isinstance(address, str) or not address:
            what = f"{show(address)} is not an address"
            found.append(
                Problem(("base_address",), what, "set base_address to an IP address or a name", name)
            )
            address = name
        hosts[name] = _Host(address, mapping(host.get("vars", {}), ("hosts", name)))
    return groups, hosts, found


def _group_problems(groups: Mapping[str, list[str]]) -> Iterator[Problem]:
    if not groups["redis"]:
        yield Problem(("groups", "redis"), "no host has Redis", "put one host into the group redis")
    if not groups["workers"]:
        yield Problem(
            ("groups", "workers"), "no host runs tasks", "put at least one host into the group workers"
        )
    for group, remedy in _AT_MOST_ONE.items():
        if len(groups[group]) > 1:
            what = f"it has {len(groups[group])} hosts where one is the most: {listed(groups[group])}"
            yield Problem(("groups", group), what, remedy)


def _redis_address_problems(names: Iterable[str], hosts: Mapping[str, _Host]) -> Iterator[Problem]:
    """Redis listens where the other hosts reach it, which must be a private address and no loopback."""
    if len(hosts) < 2:
        return
    for name in names:
        text = hosts[name].address
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            if text.lower() not in ("localhost", "localhost.localdomain"):
                continue
            address = ipaddress.ip_address("127.0.0.1")
        remedy = "set base_address of the host to its address in the private network"
        if address.is_loopback or address.is_unspecified:
            what = f"{show(text)} reaches Redis from its own host alone, and the fleet has {len(hosts)} hosts"
            yield Problem(("base_address",), what, remedy, name)
        elif address.is_global:
            what = f"{show(text)} is a public address, and Redis must listen on a private one"
            yield Problem(("base_address",), what, remedy, name)


def _differing_variables(hosts: Mapping[str, _Host]) -> Iterator[Problem]:
    for variable in FLEET:
        values: list[tuple[Any, list[str]]] = []
        for name, host in hosts.items():
            value = host.variables.get(variable, DEFAULTS.get(variable, MISSING))
            same = next((names for other, names in values if other == value), None)
            if same is None:
                values.append((value, [name]))
            else:
                same.append(name)
        if len(values) > 1:
            sides = "; ".join(listed(names) for _, names in values)
            what = f"it is not the same on every host, and all hosts share one: {sides} differ"
            yield Problem((variable,), what, "set it once for all hosts, in group_vars/all")


def _beat_problems(names: list[str], hosts: Mapping[str, _Host]) -> Iterator[Problem]:
    if not names and any(host.variables.get("celery_beat_schedule") for host in hosts.values()):
        what = "it names periodic tasks, and no host runs Beat"
        yield Problem(
            ("celery_beat_schedule",), what, "put one host into the group beat, or remove the schedule"
        )


def _unconsumed_queues(workers: list[_Host]) -> Iterator[Problem]:
    consumed: set[str] = set()
    queues: dict[str, None] = {}
    for host in workers:
        values, faults = read_variables(host.variables)
        if {("celery_queues",), ("celery_worker_pools",)} & {fault.where for fault in faults}:
            return
        variables = filled(VARIABLES, values)
        queues.update(dict.fromkeys(variables["celery_queues"]))
        for pool in variables["celery_worker_pools"].values():
            if "queues" not in pool:
                return  # it may be the one that consumes what the others do not
            consumed.update(pool["queues"])
    for queue in queues:
        if queue not in consumed:
            what = f"no pool consumes the queue {show(queue)}: its tasks would wait for ever"
            yield Problem(("celery_queues", queue), what, "add it to queues of a pool, or remove the queue")


def _merged(problems: Mapping[str, Iterable[Problem]]) -> Iterator[Problem]:
    """Each fault once, with the hosts that have it; none named when all have it in a fleet-wide variable."""
    hosts_of: dict[Problem, list[str]] = {}
    for name, found in problems.items():
        for problem in dict.fromkeys(found):
            hosts_of.setdefault(problem, []).append(name)
    for problem, names in hosts_of.items():
        if problem.where[0] not in HOST and len(names) == len(problems):
            yield problem
        else:
            yield replace(problem, host=names[0], also=tuple(names[1:]))
