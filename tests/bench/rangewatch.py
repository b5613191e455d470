"""What a request asks of Redis, by MONITOR: how many commands, and whether one of them reads without a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

MOST = 5000
"""Elements that one command may read."""
MOST_SCANS = 40
"""Steps of SCAN, HSCAN and their like that one request may take."""

_END = "end-of-the-watch"
_SIZES = {
    "LRANGE": "LLEN",
    "HGETALL": "HLEN",
    "HKEYS": "HLEN",
    "HVALS": "HLEN",
    "SMEMBERS": "SCARD",
    "ZRANGE": "ZCARD",
    "ZREVRANGE": "ZCARD",
    "ZRANGEBYSCORE": "ZCARD",
    "ZREVRANGEBYSCORE": "ZCARD",
    "XRANGE": "XLEN",
    "XREVRANGE": "XLEN",
}


@dataclass(frozen=True)
class Reading:
    """A command that reads some of a key: at most so many elements; None: all. `scores`: only those between."""

    size_by: str
    key: str
    most: int | None
    scores: tuple[str, str] | None = None


def reading(command: Sequence[str]) -> Reading | None:
    """What a command may read; None for those that read one thing."""
    name = command[0].upper()
    if name not in _SIZES:
        return None
    key, rest = command[1], [word.upper() for word in command[2:]]
    if name in ("HGETALL", "HKEYS", "HVALS", "SMEMBERS"):
        return Reading(_SIZES[name], key, None)
    if name in ("XRANGE", "XREVRANGE"):
        return Reading("XLEN", key, int(rest[rest.index("COUNT") + 1]) if "COUNT" in rest else None)
    if "LIMIT" in rest:
        return Reading(_SIZES[name], key, _count(rest[rest.index("LIMIT") + 2]))
    if name in ("ZRANGEBYSCORE", "ZREVRANGEBYSCORE") or "BYSCORE" in rest:
        low, high = command[2], command[3]
        backwards = name == "ZREVRANGEBYSCORE" or "REV" in rest
        return Reading("ZCARD", key, None, (high, low) if backwards else (low, high))
    start, stop = int(float(command[2])), int(float(command[3]))
    same_end = (start < 0) == (stop < 0)
    return Reading(_SIZES[name], key, max(0, stop - start + 1) if same_end else None)


def _count(text: str) -> int | None:
    number = int(float(text))
    return number if number >= 0 else None


@dataclass
class Seen:
    """The commands of one request. `own`: those that the client sent, without what scripts then did."""

    own: int = 0
    commands: list[tuple[int, list[str]]] = field(default_factory=list)
    """Database and words."""

    def faults(self, client: Callable[[int], redis.Redis]) -> list[str]:
        """What was read without a bound. client: one for a database."""
        scans = sum(words[0].upper() in ("SCAN", "HSCAN", "SSCAN", "ZSCAN") for _, words in self.commands)
        found = [f"{scans} steps of SCAN"] if scans > MOST_SCANS else []
        for database, words in self.commands:
            if words[0].upper() == "KEYS":
                found.append(" ".join(words))
            asked = reading(words)
            if asked and (asked.most is None or asked.most > MOST):
                size = _size(client(database), asked)
                if min(size, asked.most or size) > MOST:
                    found.append(f"{' '.join(words)[:120]}: {size:,} elements")
        return found


def _size(client: redis.Redis, asked: Reading) -> int:
    if asked.scores:
        return int(client.zcount(asked.key, *asked.scores))  # type: ignore[arg-type]
    size: Any = client.execute_command(asked.size_by, asked.key)
    return int(size)


class Watch:
    """Notes what Redis is asked while it is open."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._seen = Seen()
        self._mark = ""
        self._marked = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Watch:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._sync(_END)
        self._thread.join(10)

    def request(self, ask: Callable[[], object]) -> Seen:
        """What Redis was asked during the call; of others, too, should there be any."""
        self._sync("begin")
        self._seen = Seen()
        ask()
        self._sync("end")
        return self._seen

    def _sync(self, word: str) -> None:
        """MONITOR tells of commands in their order: when it tells of this one, it has told of all before."""
        self._marked.clear()
        self._mark = f"{word}-{time.monotonic()}"
        self._client.echo(self._mark)
        if not self._marked.wait(10):
            raise TimeoutError("MONITOR lags behind")

    def _follow(self) -> None:
        with self._client.monitor() as monitor:
            self._ready.set()
            for told in monitor.listen():
                words = _words(told["command"])
                if words[0].upper() == "ECHO" and words[-1] == self._mark:
                    self._marked.set()
                    if words[-1].startswith(_END):
                        return
                elif words[0].upper() not in ("AUTH", "HELLO", "SELECT", "CLIENT", "PING"):
                    self._seen.own += told["client_type"] != "lua"
                    self._seen.commands.append((int(told["db"]), words))


def _words(command: str) -> list[str]:
    """The words of a command; redis-py gives them joined by blanks."""
    return command.split(" ") or [""]
