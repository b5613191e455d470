"""What Redis still has of the tasks when all is done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from celery_fleet.policy.priority import STEPS

NOWHERE = "nowhere in Redis"
_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SEPARATOR = b"\x06\x16"


def find(ids: Sequence[str], clients: Mapping[str, redis.Redis]) -> dict[str, str]:
    """For each task the keys that mention it, or NOWHERE."""
    found: dict[str, set[str]] = {task_id: set() for task_id in ids}
    if not ids:
        return {}
    for database, client in clients.items():
        for key, value in _values(client):
            for task_id in {each.decode() for each in _ID.findall(key + b"\n" + value)} & found.keys():
                found[task_id].add(f"{database} {key.decode(errors='replace')!r}")
    return {task_id: ", ".join(sorted(keys)) or NOWHERE for task_id, keys in found.items()}


def left_over(broker: redis.Redis) -> dict[str, int]:
    """Messages that somebody still holds, or that wait, by where; nothing when all is well."""
    found: dict[str, int] = {}
    for key in broker.scan_iter(count=1000):
        name = key.decode(errors="replace")
        kind = broker.type(key)
        held = kind == b"hash" and name.startswith("unacked")
        waits = kind == b"list" and key.rpartition(SEPARATOR)[2] in map(str.encode, map(str, STEPS))
        if held:
            found[name] = int(broker.hlen(key))
        elif waits and "pidbox" not in name:
            found[name] = int(broker.llen(key))
        elif name == "fleet:parked":
            found[name] = int(broker.zcard(key))
    return {name: count for name, count in found.items() if count}


def _values(client: redis.Redis) -> Iterator[tuple[bytes, bytes]]:
    for key in client.scan_iter(count=1000):
        yield key, b"\n".join(_texts(client, key))


def _texts(client: Any, key: bytes) -> list[bytes]:
    kind = client.type(key)
    if kind == b"string":
        return [client.get(key) or b""]
    if kind == b"list":
        return list(client.lrange(key, 0, -1))
    if kind == b"hash":
        return [part for pair in client.hgetall(key).items() for part in pair]
    if kind == b"zset":
        return list(client.zrange(key, 0, -1))
    if kind == b"set":
        return list(client.smembers(key))
    return []
