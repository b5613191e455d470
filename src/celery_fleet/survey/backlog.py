"""What waits in the broker, and what workers hold of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import redis

from celery_fleet.delivery.keys import Keys
from celery_fleet.policy.priority import STEPS, fleet_priority
from celery_fleet.store.headers import SINCE, as_moment

_MOST_HELD = 10_000
"""Entries of one worker that are looked into, to tell whose queue they are of."""


@dataclass(frozen=True)
class Backlog:
    """One queue. Priorities as people say them: 1 (lowest) to 10."""

    queue: str
    by_priority: Mapping[int, int] = field(default_factory=dict)
    """Waiting messages of each priority that has some."""
    parked: int = 0
    """Due later."""
    unacked: int = 0
    """Held by workers: running, or about to run."""
    oldest: float | None = None
    """When the message that is next in its line was first due, in seconds since the epoch; None: not known."""

    @property
    def waiting(self) -> int:
        return sum(self.by_priority.values())


def read_backlogs(
    client: "redis.Redis", queues: Sequence[str], parked: Mapping[str, int], keys: Keys
) -> list[Backlog]:
    """All queues, in two round trips and one for each worker that holds something."""
    lists = [keys.queue(queue, step) for queue in queues for step in STEPS]
    pipe = client.pipeline(transaction=False)
    for key in lists:
        pipe.llen(key)
        pipe.lindex(key, -1)
    answers = pipe.execute()
    lengths, heads = answers[::2], answers[1::2]
    held = held_by_queue(client, keys)
    found = []
    for number, queue in enumerate(queues):
        of_queue = slice(number * len(STEPS), (number + 1) * len(STEPS))
        sizes = {
            fleet_priority(step): size for step, size in zip(STEPS, lengths[of_queue], strict=True) if size
        }
        since = [moment for head in heads[of_queue] if head and (moment := first_due(head)) is not None]
        found.append(Backlog(queue, sizes, parked.get(queue, 0), held[queue], min(since, default=None)))
    return found


def holders(client: "redis.Redis", keys: Keys) -> dict[str, str]:
    """Node -> the hash of what it holds; the empty node: all workers on the stock transport."""
    stock = keys.unacked("").rstrip(":")
    found = {key.decode() for key in client.scan_iter(f"{stock}*", count=1000, _type="hash")}
    return {
        key.removeprefix(stock).removeprefix(":"): key
        for key in sorted(found)
        if key == stock or key.startswith(f"{stock}:")
    }


def held_by_queue(client: "redis.Redis", keys: Keys) -> Counter[str]:
    """How many messages workers hold, by queue."""
    found: Counter[str] = Counter()
    for key in holders(client, keys).values():
        for number, (_, value) in enumerate(client.hscan_iter(key, count=500)):
            if number >= _MOST_HELD:
                break
            found.update(queue_of_held(value))
    return found


def queue_of_held(value: bytes) -> list[str]:
    """The queue of an entry `[message, exchange, routing key]`: its direct exchange has the queue's name."""
    try:
        _, exchange, routing_key = json.loads(value)
    except (ValueError, TypeError):
        return []
    return [str(routing_key or exchange)]


def first_due(message: bytes) -> float | None:
    """When a message's task was first due; None when it does not say."""
    try:
        since = json.loads(message)["headers"][SINCE]
    except (ValueError, TypeError, KeyError):
        return None
    return as_moment(since)
