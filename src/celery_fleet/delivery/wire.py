"""Commands to Redis at the price of their bytes: what redis-py's clients cost beyond that is saved."""

import os
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis
from redis.exceptions import NoScriptError

from .scripts import Script

_FRESH = 0.5
"""Seconds for which a connection that answered is taken to be alive."""

LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What a lost connection raises."""


class Wire:
    """Connections of a redis-py pool, one for each thread or greenlet that is waiting for an answer."""

    def __init__(self, pool: Callable[[], Any]) -> None:
        self._pool = pool
        self._idle: list[tuple[Any, Any, float]] = []
        self._pid = os.getpid()

    def call(self, *command: Any) -> Any:
        """The reply. Raises what redis-py raises; then the command may or may not have been executed."""
        pool, connection = self._take()
        try:
            connection.send_packed_command(connection.pack_command(*command))
            reply = connection.read_response()
        except redis.ResponseError:
            self._idle.append((pool, connection, monotonic()))
            raise
        except BaseException:  # whatever it is, the reply is still on its way
            _drop(pool, connection)
            raise
        self._idle.append((pool, connection, monotonic()))
        return reply

    def run(self, script: Script, keys: int, *arguments: Any) -> Any:
        """Runs a script whose first `keys` arguments are keys."""
        try:
            return self.call("EVALSHA", script.sha, keys, *arguments)
        except NoScriptError:  # Redis was restarted, or told to forget
            return self.call("EVAL", script.text, keys, *arguments)

    def run_again(self, script: Script, keys: int, *arguments: Any) -> Any:
        """`run` for what does no harm when it is executed twice: once more when the connection was lost."""
        try:
            return self.run(script, keys, *arguments)
        except LOST:
            return self.run(script, keys, *arguments)

    def forget(self) -> None:
        """In a child: the connections are the parent's."""
        self._idle, self._pid = [], os.getpid()

    def close(self) -> None:
        if self._pid == os.getpid():
            while self._idle:
                _drop(*self._idle.pop()[:2])

    def _take(self) -> tuple[Any, Any]:
        if self._pid != os.getpid():
            self.forget()
        while True:
            try:
                pool, connection, answered = self._idle.pop()
            except IndexError:
                pool = self._pool()
                return pool, pool.get_connection()
            if monotonic() - answered < _FRESH or not _stale(connection):
                return pool, connection
            _drop(pool, connection)


def _drop(pool: Any, connection: Any) -> None:
    connection.disconnect()
    pool.release(connection)


def _stale(connection: Any) -> bool:
    """Whether it is closed, or has data that nobody asked for."""
    try:
        return bool(connection.can_read())
    except LOST:
        return True
