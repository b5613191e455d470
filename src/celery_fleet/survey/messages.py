"""The messages that wait in queues: the next ones, the newest ones, and that of one task.

Redis reads them and sends what people look at, not the bodies; each look is bounded, however much waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from celery_fleet.delivery import envelope, pending
from celery_fleet.delivery.commands import ClientCommands
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.pending import Located
from celery_fleet.delivery.scripts import Script
from celery_fleet.policy.priority import STEPS, broker_priority, fleet_priority
from celery_fleet.store.headers import SINCE, as_moment
from celery_fleet.topology.discretion import Discretion

MOST = 500
"""Messages that one look shows at most."""

_SHOWN = 1024
"""Bytes of arguments that are shown."""


@dataclass(frozen=True)
class Waiting:
    """A message that waits. Empty or None: not known."""

    task_id: str
    name: str
    queue: str
    priority: int
    """1 (lowest) to 10."""
    since: float | None = None
    """When it was first due, in seconds since the epoch."""
    due: float | None = None
    """When it is due, if it was sent for later."""
    args: str = ""
    """As Celery shows the arguments to people."""
    kwargs: str = ""
    position: int | None = None
    """In the line of its priority, from 1: the next one. None: it is not in its queue yet, or not known."""
    size: int = 0
    """Bytes."""


def peek(
    client: "redis.Redis", queue: str, keys: Keys, *, limit: int = 50, priority: int | None = None
) -> list[Waiting]:
    """What a queue would give next, the highest priority first; `priority`: only of this one, 1 (lowest) to 10."""
    steps = STEPS if priority is None else (broker_priority(priority),)
    lists = [keys.queue(queue, step) for step in steps]
    found = ClientCommands(client).run_again(_PEEK, 0, min(limit, MOST), _SHOWN, SINCE, *lists)
    return [_waiting(queue, steps[row[0]], row[1:]) for row in found]


def recent(client: "redis.Redis", queues: Sequence[str], keys: Keys, limit: int) -> list[Waiting]:
    """What was sent last to any of the queues, the newest first."""
    lists = [(queue, step) for queue in queues for step in STEPS]
    names = [keys.queue(queue, step) for queue, step in lists]
    found = ClientCommands(client).run_again(_RECENT, 0, min(limit, MOST), _SHOWN, SINCE, *names)
    return [_waiting(queue, step, row[1:]) for row in found for queue, step in [lists[row[0]]]]


def find_waiting(client: "redis.Redis", task_id: str, queues: Sequence[str], keys: Keys) -> Waiting | None:
    """The message of a task, in a queue or parked; looked for where it is noted, else at the ends of the queues.

    Of one that lies too deep to be found, queue and priority are known alone.
    """
    found = pending.locate(client, task_id, keys)
    if found is None:
        noted = pending.pending(client, [task_id], keys).get(task_id)
        if noted:
            return Waiting(task_id, "", noted.queue, noted.priority, due=noted.due)
        found = pending.search(client, task_id, queues, keys)
    return waiting(found) if found else None


def waiting(found: Located) -> Waiting:
    """What people are shown of a message that was found."""
    headers = found.message["headers"]
    return Waiting(
        headers["id"],
        str(headers.get("task") or ""),
        found.queue,
        found.priority,
        as_moment(headers.get(SINCE)),
        envelope.due(headers) if found.due is None else found.due,
        str(headers.get("argsrepr") or "")[:_SHOWN],
        str(headers.get("kwargsrepr") or "")[:_SHOWN],
        found.position,
        len(found.raw),
    )


def discreet(found: Waiting, rules: Discretion) -> Waiting:
    """The message without what the inventory marks as sensitive: whoever sent it may have said more."""
    args, kwargs = rules.reprs(found.name, found.args, found.kwargs, queue=found.queue)
    return replace(found, args=args, kwargs=kwargs)


def _waiting(queue: str, step: int, row: Sequence[Any]) -> Waiting:
    """From a row of the scripts."""
    task_id, name, since, eta, args, kwargs = (each.decode(errors="replace") for each in row[:6])
    return Waiting(
        task_id,
        name,
        queue,
        fleet_priority(step),
        as_moment(float(since)) if since else None,
        envelope.due({"eta": eta}),
        args,
        kwargs,
        *row[6:],
    )


_ROW = """
local limit, shown, since = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local function row(list, raw, position)
  local ok, message = pcall(cjson.decode, raw)
  local headers = ok and type(message) == 'table' and message.headers
  headers = type(headers) == 'table' and headers or {}
  local function text(name)
    return type(headers[name]) == 'string' and string.sub(headers[name], 1, shown) or ''
  end
  local first = type(headers[since]) == 'number' and string.format('%.6f', headers[since]) or ''
  return {list, text('id'), text('task'), first, text('eta'), text('argsrepr'), text('kwargsrepr'), position, #raw}
end
"""
# Number of the list from 0; no KEYS: those that may only read are refused scripts that announce keys.

_PEEK = Script(
    _ROW
    + """
local rows = {}
for i = 4, #ARGV do
  local wanted = limit - #rows
  if wanted == 0 then break end
  local found = redis.call('LRANGE', ARGV[i], -wanted, -1)
  for j = #found, 1, -1 do table.insert(rows, row(i - 4, found[j], #found - j + 1)) end
end
return rows
"""
)
"""ARGV: limit, bytes of arguments, header of the first due time, lists in the order in which they are taken from."""

_RECENT = Script(
    _ROW
    + """
local heads, rows = {}, {}
local function look(i, number)
  local raw = redis.call('LINDEX', ARGV[i], number)
  if not raw then return nil end
  local size = redis.call('LLEN', ARGV[i])
  return {row = row(i - 4, raw, size - number), number = number, list = i}
end
for i = 4, #ARGV do table.insert(heads, look(i, 0)) end
while #rows < limit and #heads > 0 do
  local newest = 1
  for i = 2, #heads do
    if (tonumber(heads[i].row[4]) or 0) > (tonumber(heads[newest].row[4]) or 0) then newest = i end
  end
  local head = heads[newest]
  table.insert(rows, head.row)
  local following = look(head.list, head.number + 1)
  if following then heads[newest] = following else table.remove(heads, newest) end
end
return rows
"""
)
"""Merges the lists, each of which has its newest on the left. ARGV: as of the other."""
