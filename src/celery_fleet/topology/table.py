"""The table of who asks for how much of the memory of a host, and what to do when it is too much."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .capacity import Demand, Grant, RedisMemory
from .units import human_size


def memory_table(
    memory: int,
    reserve: int,
    redis: RedisMemory | None,
    demands: Mapping[str, Demand],
    grants: Mapping[str, Grant],
) -> str:
    """The table, a line a claim, columns aligned."""
    claims = _claims(reserve, redis, demands, grants)
    total = sum(claim.total for claim in claims)
    rows = [("", "ASKS FOR", "PARENT", "TOTAL")]
    rows += [(claim.who, claim.terms, claim.parent, human_size(claim.total)) for claim in claims]
    rows.append(("sum", "", "", human_size(total)))
    rows.append(("memory of the host", "", "", human_size(memory)))
    rows.append(("missing" if total > memory else "free", "", "", human_size(abs(memory - total))))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{who:<{widths[0]}}  {terms:>{widths[1]}}  {parent:>{widths[2]}}  {size:>{widths[3]}}".rstrip()
        for who, terms, parent, size in rows
    )


def refusal(
    name: str, memory: int, reserve: int, redis: RedisMemory | None, demands: Mapping[str, Demand]
) -> str:
    """Why a host is refused: the least that is asked of it, as a table, and what would help."""
    least = {pool: Grant(demand.least_child, demand.least) for pool, demand in demands.items()}
    total = sum(claim.total for claim in _claims(reserve, redis, demands, least))
    return (
        f"{name} has {human_size(memory)} of memory, and {human_size(total)} are asked of it.\n"
        f"{memory_table(memory, reserve, redis, demands, least)}\n"
        f"Remedy: {', or '.join(_remedies(total - memory, redis, demands))}."
    )


@dataclass(frozen=True)
class _Claim:
    """One row of the table: who asks for how much, and how that comes about."""

    who: str
    terms: str
    parent: str
    total: int


def _claims(
    reserve: int, redis: RedisMemory | None, demands: Mapping[str, Demand], grants: Mapping[str, Grant]
) -> list[_Claim]:
    claims = [_Claim("system reserve", "", "", reserve)]
    if redis:
        claims.append(_Claim("Redis", f"1.5 x {human_size(redis.maxmemory)}", "", redis.claim))
    for name, demand in demands.items():
        grant = grants[name]
        terms = f"{demand.children} x {human_size(grant.child)}"
        if grant.service < demand.total(grant.child):
            terms += ", capped"
        who = f"pool {name}" if demand.explicit else f"pool {name} (auto)"
        claims.append(_Claim(who, terms, human_size(demand.parent), grant.service))
    return claims


def _remedies(missing: int, redis: RedisMemory | None, demands: Mapping[str, Demand]) -> Iterator[str]:
    if demands:
        name, largest = max(demands.items(), key=lambda item: item[1].least)
        key = "autoscale.max" if largest.settings["autoscale"] else "concurrency"
        fitting = largest.children - -(-missing // largest.least_child)
        if 1 <= fitting < largest.children:
            yield f"set {key} of the pool {name} to {fitting}"
        yield f"lower {'memory_per_child or ' if largest.explicit else ''}memory_parent of the pool {name}"
        yield "move a pool to another host"
    if redis:
        yield "lower redis_maxmemory"
    yield "give the host more memory"
