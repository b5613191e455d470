"""Whose queues the messages are of that workers hold."""

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial

import redis

from celery_fleet.delivery.commands import ClientCommands
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.scripts import Script

from .steps import Steps

_MOST = 10_000
"""Messages of one worker that are counted: those that it has held for longest."""
_AT_ONCE = 100
"""Messages that Redis looks into in one go."""


class HeldByQueue:
    """Counts them. Redis looks into each message once: what is long is not read at every scrape, and never leaves it."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, str]] = {}

    def count(
        self, client: "redis.Redis", hashes: Mapping[str, str], keys: Keys, step: Steps
    ) -> Counter[str]:
        """By queue; `hashes`: as `survey.backlog.holders` gives them. Raises redis.RedisError."""
        pipe = client.pipeline(transaction=False)
        for node in hashes:
            pipe.zrange(index_key(keys, node), 0, _MOST - 1)
        tags_of = dict(zip(hashes.values(), step(pipe.execute), strict=True))
        # What has been found out is kept, though there may be no time for the rest.
        self._known = {
            key: {tag: known[tag] for tag in tags if tag in known}
            for key, tags in tags_of.items()
            for known in [self._known.get(key, {})]
        }
        for key, tags in tags_of.items():
            known = self._known[key]
            new = [tag for tag in tags if tag not in known]
            for start in range(0, len(new), _AT_ONCE):
                known |= step(partial(_look, client, key, new[start : start + _AT_ONCE]))
        return Counter(queue for known in self._known.values() for queue in known.values() if queue)


def index_key(keys: Keys, node: str) -> str:
    """The sorted set of what a node holds; the empty node: all workers of stock delivery."""
    return keys.unacked_index(node) if node else keys.unacked_index("").rstrip(":")


def _look(client: "redis.Redis", key: str, tags: list[bytes]) -> dict[bytes, str]:
    """Tag -> queue, empty where the entry names none; without those that are not held any more."""
    found = ClientCommands(client).run_again(_QUEUES, 0, key, *tags)
    return {tag: json.loads(said or '""') for tag, said in zip(tags, found, strict=True) if said is not None}


# An entry is `[message, exchange, routing key]`; its direct exchange has the queue's name. It is read from its end. No
# KEYS: those that may only read are refused scripts that announce keys.
_QUEUES = Script(
    """
local answer = {}
for i = 2, #ARGV do
  local entry = redis.call('HGET', ARGV[1], ARGV[i])
  local queue = entry
  if entry then
    local last = string.sub(entry, -1024)
    queue = string.match(last, '^.*[^\\\\]("[^"]*")%s*%]%s*$')
    if not queue or queue == '""' then
      queue = string.match(last, '^.*[^\\\\]("[^"]*")%s*,%s*[^,%s]+%s*%]%s*$') or ''
    end
  end
  answer[#answer + 1] = queue
end
return answer
"""
)
