"""The last deployments, in the list `fleet:deploys`, newest first."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import redis

from .told import read

LIMIT = 50
"""Deployments kept."""


@dataclass(frozen=True)
class Deploy:
    """Hosts began to run a release: `at`, in seconds since the epoch by the clock of Redis."""

    release: str
    at: float
    by: str
    hosts: tuple[str, ...]
    rollback: bool = False


class Deploys:
    """The store. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", prefix: str = "") -> None:
        self._client = client
        self._key = f"{prefix}fleet:deploys"

    def note(self, release: str, by: str, hosts: Iterable[str], rollback: bool = False) -> Deploy:
        """Adds one, and forgets what is older than the last fifty."""
        seconds, micro = self._client.time()
        found = Deploy(release, seconds + micro / 1e6, by, tuple(sorted(hosts)), rollback)
        with self._client.pipeline() as pipe:
            pipe.lpush(self._key, json.dumps(asdict(found)))
            pipe.ltrim(self._key, 0, LIMIT - 1)
            pipe.execute()
        return found

    def list(self, limit: int = 20) -> list[Deploy]:
        """The newest first."""
        found: Any = self._client.lrange(self._key, 0, limit - 1)
        return [_deploy(each) for each in found]


def _deploy(text: bytes) -> Deploy:
    told = json.loads(text)
    return read(Deploy, told, hosts=tuple(told.get("hosts", ())))
