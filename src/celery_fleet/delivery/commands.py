"""What the modules of delivery need of a connection: `wire.Wire` and any redis-py client give it."""

from typing import Any, Protocol

import redis
from redis.exceptions import NoScriptError

from .scripts import Script


class Commands(Protocol):
    """Sends commands. Raises what redis-py raises."""

    def call(self, *command: Any) -> Any: ...

    def run_again(self, script: Script, keys: int, *arguments: Any) -> Any:
        """Runs a script whose first `keys` arguments are keys, once more when the connection was lost."""


class ClientCommands:
    """`Commands` by a redis-py client that prefixes and decodes nothing."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client: Any = client

    def call(self, *command: Any) -> Any:
        return self._client.execute_command(*command)

    def run_again(self, script: Script, keys: int, *arguments: Any) -> Any:
        try:
            return self._client.execute_command("EVALSHA", script.sha, keys, *arguments)
        except NoScriptError:
            return self._client.execute_command("EVAL", script.text, keys, *arguments)
