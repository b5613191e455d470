"""What producers and workers must agree on, or tasks would lie in lists that nobody reads."""

import json
from typing import Any

from .commands import Commands
from .keys import Keys


class Disagreement(Exception):  # noqa: N818
    """Producers and workers of one broker are configured differently."""


def terms(steps: Any, separator: str, prefix: str) -> dict[str, Any]:
    return {"steps": list(steps), "sep": separator, "prefix": prefix}


def agree(commands: Commands, keys: Keys, own: dict[str, Any]) -> None:
    """Registers these terms if nobody has yet. Raises Disagreement when others are in force."""
    text = json.dumps(own, sort_keys=True)
    found = commands.call("GET", keys.contract)
    if found is None and not commands.call("SET", keys.contract, text, "NX"):
        found = commands.call("GET", keys.contract)
    if found is not None and json.loads(found) != own:
        raise Disagreement(
            f"this process and others of the fleet disagree on the lists of the queues: it has {text}, "
            f"the broker's key {keys.contract} says {found.decode()}; give all the same priority_steps and sep, "
            "or, when every process is stopped and the queues are empty, delete the key"
        )


def check(channel: Any) -> None:
    """`agree`, once for a connection."""
    transport = channel.connection
    if not getattr(transport, "fleet_agreed", False):
        agree(
            channel.wire, channel.keys, terms(channel.priority_steps, channel.sep, channel.global_keyprefix)
        )
        transport.fleet_agreed = True
