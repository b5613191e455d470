"""Queues that bear the name of a host: a host that asks for one gets it, and a pool that consumes it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .fields import WRONG
from .problem import Problem, show
from .variables import DEFAULTS, HOST, QUEUE_NAME

VARIABLE = "celery_host_queue"

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class HostQueues:
    """The variables of all hosts, with the queues and pools that were made; and what is in the way of others."""

    variables: Mapping[str, Variables]
    made: Collection[str]
    """Hosts that have a queue of their own."""
    problems: Sequence[Problem]

    def own_place(self, problem: Problem) -> Problem:
        """A fault of a queue or a pool that was made is told where its settings were written."""
        match problem.where:
            case ("celery_queues", str(name), *rest) if name in self.made:
                return replace(problem, where=(VARIABLE, "queue", *rest), host=name, also=())
            case ("celery_worker_pools", str(name), *rest) if name in self.made and problem.host == name:
                return replace(problem, where=(VARIABLE, "pool", *rest))
            case _:
                return problem


def with_host_queues(hosts: Mapping[str, Variables], workers: Collection[str]) -> HostQueues:
    """What `celery_host_queue` of these hosts stands for; `workers` are the hosts of that group.

    The queue of a host joins `celery_queues` of every host, its pool joins `celery_worker_pools` of that host.
    """
    problems: list[Problem] = []
    made: dict[str, Variables] = {}
    for name, given in hosts.items():
        settings = _settings(given)
        if settings is None:
            continue
        found = [*_name_problems(name), *_conflicts(name, hosts, workers)]
        problems += [*found, *_consumed_elsewhere(name, hosts)]
        if not found:
            made[name] = settings
    variables = {name: _expanded(name, given, made) for name, given in hosts.items()}
    return HostQueues(variables, made, problems)


def _settings(given: Variables) -> Variables | None:
    if VARIABLE not in given:
        return None
    settings = HOST[VARIABLE].kind.read(given[VARIABLE], (VARIABLE,), [])
    return None if settings is WRONG else settings  # faults are told with those of the host's other variables


def _expanded(name: str, given: Variables, made: Mapping[str, Variables]) -> Variables:
    if not made:
        return given
    expanded = dict(given)
    queues = given.get("celery_queues", DEFAULTS["celery_queues"])
    if isinstance(queues, Mapping):
        expanded["celery_queues"] = {
            **queues,
            **{host: _queue(host, settings.get("queue", {})) for host, settings in made.items()},
        }
    pools = given.get("celery_worker_pools", DEFAULTS["celery_worker_pools"])
    if name in made and isinstance(pools, Mapping):
        expanded["celery_worker_pools"] = {**pools, name: _pool(name, made[name].get("pool", {}))}
    return expanded


def _queue(host: str, settings: Variables) -> Variables:
    return {"description": f"Work about {host}, done there", **settings}


def _pool(host: str, settings: Variables) -> Variables:
    least = {} if settings.get("autoscale") else {"concurrency": 1}
    return {"queues": [host], **least, **settings}


def _name_problems(name: str) -> Iterator[Problem]:
    found: list[Problem] = []
    if QUEUE_NAME.read(name, (VARIABLE,), found) is WRONG:
        remedy = f"give the host another name ({QUEUE_NAME.remedy}), or remove {VARIABLE}"
        yield from (replace(problem, remedy=remedy, host=name) for problem in found)


def _conflicts(name: str, hosts: Mapping[str, Variables], workers: Collection[str]) -> Iterator[Problem]:
    if name not in workers:
        what = f"the host is not in the group workers, and nothing would consume the queue {show(name)}"
        yield Problem((VARIABLE,), what, f"put it into that group, or remove {VARIABLE}", name)
    if any(name in _mapping(given.get("celery_queues")) for given in hosts.values()):
        what = f"the queue {show(name)} is in celery_queues, too"
        remedy = f"remove it there (settings go under queue of {VARIABLE}), or remove {VARIABLE}"
        yield Problem((VARIABLE,), what, remedy, name)
    if name in _mapping(hosts[name].get("celery_worker_pools")):
        what = f"the pool {show(name)} is in celery_worker_pools, too"
        remedy = f"remove it there (settings go under pool of {VARIABLE}), or give it another name"
        yield Problem((VARIABLE,), what, remedy, name)


def _consumed_elsewhere(name: str, hosts: Mapping[str, Variables]) -> Iterator[Problem]:
    for other, given in hosts.items():
        for pool, settings in _mapping(given.get("celery_worker_pools")).items():
            queues = _mapping(settings).get("queues")
            if other != name and isinstance(queues, list | tuple) and name in queues:
                what = f"the queue {show(name)} is that of the host {name}, where all its tasks are to run"
                where = ("celery_worker_pools", str(pool), "queues", list(queues).index(name))
                yield Problem(where, what, f"remove it here, or {VARIABLE} there", other)


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
