"""The Lua scripts. Each is one atomic step; what a step must not lose never leaves Redis in between."""

from dataclasses import dataclass, field
from hashlib import sha1

from .keys import WAKE_LIMIT


@dataclass(frozen=True)
class Script:
    """A script and the digest that Redis knows it by."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


FENCED = "FENCED"
"""Error prefix: the caller no longer owns the node."""

_RING = f"""
local function ring(key)
  local waiting = redis.call('LLEN', key)
  if waiting < {WAKE_LIMIT} then
    redis.call('LPUSH', key, '1')
    if waiting == 0 then redis.call('EXPIRE', key, 60) end
  end
end
"""
# A worker waits only after it found all its lists empty in the same step in which it emptied the wake lists, so a
# token that expires was needed by nobody.

_OWN = f"""
local function disowned(key, token)
  return token ~= '' and redis.call('GET', key) ~= token
end
local fenced = redis.error_reply('{FENCED} another process has taken over the node')
"""

PUT = Script(
    _RING
    + """
redis.call('LPUSH', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then redis.pcall('HSET', ARGV[2], ARGV[3], ARGV[4]) end
ring(KEYS[2])
for i = 1, ARGV[5] and #KEYS or 0 do redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
"""
)
"""KEYS: list, wake, [the queue's other lists].
ARGV: message, pending, task id or '', where it is, [ms until the queue expires].

`pending` is no key of the script's: a user needs all rights to those, and producers may only write this one.
"""

PARK = Script(
    """
redis.call('ZADD', ARGV[1], ARGV[2], ARGV[3])
redis.pcall('HSET', ARGV[4], ARGV[5], ARGV[6])
"""
)
"""ARGV: parked, due time, member, pending, task id, where it is."""

RING = Script(_RING + "ring(KEYS[1])")
"""KEYS: wake."""

CLAIM = Script(
    _OWN
    + """
if disowned(KEYS[3], ARGV[1]) then return fenced end
local queues = tonumber(ARGV[2])
local first = 8 + queues
local skipped = {}
if redis.call('EXISTS', KEYS[7]) == 1 then
  if redis.call('HEXISTS', KEYS[7], ARGV[4]) + redis.call('HEXISTS', KEYS[7], ARGV[5]) > 0 then
    redis.call('DEL', ARGV[3] .. ARGV[4], ARGV[3] .. ARGV[5])
    return {-3}
  end
  for i = 1, queues do
    local name = ARGV[i + 5]
    local field = name ~= '' and 'queue:' .. cjson.decode('[' .. name .. ']')[1]
    if field and redis.call('HEXISTS', KEYS[7], field) == 1 then
      redis.call('DEL', ARGV[3] .. field)
      skipped[i - 1] = true
    end
  end
end
local bad = 0
for i = first, #KEYS do
  local queue = ARGV[i - first + 6]
  while not skipped[(i - first) % queues] do
    local message = redis.call('RPOP', KEYS[i])
    if not message then break end
    if queue == '' then return {i - first, message, 0} end
    local ok, decoded = pcall(cjson.decode, message)
    local properties = ok and type(decoded) == 'table' and decoded.properties
    local tag = type(properties) == 'table' and properties.delivery_tag
    if type(tag) == 'string' then
      local now = redis.call('TIME')
      redis.call('ZADD', KEYS[2], string.format('%d.%06d', now[1], now[2]), tag)
      redis.call('HSET', KEYS[1], tag, '[' .. message .. ', "", ' .. queue .. ']')
      local headers = decoded.headers
      local id = type(headers) == 'table' and headers.id
      local cancelled = false
      if type(id) == 'string' then
        redis.pcall('HDEL', KEYS[6], id)
        cancelled = redis.call('ZSCORE', KEYS[4], id)
      end
      return {i - first, message, cancelled and 1 or 0}
    end
    redis.call('LPUSH', KEYS[5], queue .. '\\n' .. message)
    bad = bad + 1
    if bad == 100 then return {-1} end
  end
end
for i = 8, first - 1 do redis.call('DEL', KEYS[i]) end
if next(skipped) == nil then return false end
local idle = {-2}
for i = 0, queues - 1 do idle[i + 2] = skipped[i] and 1 or 0 end
return idle
"""
)
"""Pops the first message there is and records that the node has it.

KEYS: unacked, index, owner, cancelled, malformed, pending, paused, wake lists, message lists in the order of preference.
ARGV: token or '', number of wake lists, what lists of those resumed begin with, the fields of the node and of its pool,
for each message list its queue as JSON, or '' for one without acknowledgement.
Returns {number of the list from 0, message, whether it is cancelled}; {-1}: to be called again; nil: nothing there, and
the wake lists are empty, so that whatever is put from now on wakes a consumer; {-2, for each queue whether it is
paused}: nothing in those that are not; {-3}: the worker is drained. Then the lists of those resumed are empty.

An entry names the queue in place of exchange and routing key: kombu's own restore, too, then needs no binding to put it
back.
"""

TAKE = Script(
    """
local wakes = tonumber(ARGV[1])
for i = wakes + 1, #KEYS do
  local message = redis.call('RPOP', KEYS[i])
  if message then return {i - wakes - 1, message, 0} end
end
for i = 1, wakes do redis.call('DEL', KEYS[i]) end
return false
"""
)
"""Like CLAIM, for consumers that acknowledge nothing. KEYS: wake lists, message lists. ARGV: number of wake lists."""

ACK = Script(
    """
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('HDEL', KEYS[1], unpack(ARGV))
"""
)
"""KEYS: unacked, index. ARGV: tags."""

GIVE_BACK = Script(
    _OWN
    + _RING
    + """
if disowned(KEYS[3], ARGV[1]) then return fenced end
local moved = 0
for i = 3, #ARGV, 7 do
  local tag, seen, place, where, payload, id, pending = unpack(ARGV, i, i + 6)
  local entry = redis.call('HGET', KEYS[1], tag)
  if entry and redis.sha1hex(entry) == seen then
    if place == 'park' then
      redis.call('ZADD', KEYS[4], where, payload)
    elseif place == 'malformed' then
      redis.call('LPUSH', KEYS[5], payload)
    elseif place ~= 'drop' then
      local list = tonumber(where)
      redis.call(place == 'head' and 'RPUSH' or 'LPUSH', KEYS[list], payload)
      ring(KEYS[list + 1])
    end
    if id ~= '' then redis.pcall('HSET', ARGV[2], id, pending) end
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    moved = moved + 1
  elseif not entry then
    redis.call('ZREM', KEYS[2], tag)
  end
end
return moved
"""
)
"""Moves entries out of `unacked`, those that still are what was read.

KEYS: unacked, index, owner, parked, malformed, then pairs of message list and wake list.
ARGV: token or '', pending, then for each entry: tag, its sha1, place (head, tail, park, malformed, drop), where (number of
the key of the list; the due time for park), payload, task id or '' when it does not wait then, where it does.
"""

UNPARK = Script(
    _RING
    + """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[2])
  ring(KEYS[3])
  return 1
end
return 0
"""
)
"""KEYS: parked, list, wake. ARGV: member, message."""

COUNT_PARKED = Script(
    """
local page = redis.call('ZSCAN', ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local counts, answer = {}, {page[1]}
for i = 1, #page[2], 2 do
  local queue = string.match(page[2][i], '^{"queue": (".-"), "key": ')
  if queue then counts[queue] = (counts[queue] or 0) + 1 end
end
for queue, number in pairs(counts) do
  table.insert(answer, queue)
  table.insert(answer, number)
end
return answer
"""
)
"""ARGV: parked, cursor, how many to look at. Returns {cursor, queue as JSON, number, ...}."""

PAUSE = Script("return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])")
"""KEYS: paused. ARGV: field, who said so."""

RESUME = Script(
    f"""
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
local function ring(key, tokens)
  tokens = math.min(tokens, {WAKE_LIMIT}) - redis.call('LLEN', key)
  for _ = 1, tokens do redis.call('LPUSH', key, '1') end
  if tokens > 0 then redis.call('EXPIRE', key, 60) end
end
ring(KEYS[2], {WAKE_LIMIT})
local step = tonumber(ARGV[2])
for i = 3, #KEYS, step + 1 do
  local messages = 0
  for list = i + 1, i + step do messages = messages + redis.call('LLEN', KEYS[list]) end
  ring(KEYS[i], messages)
end
return 1
"""
)
"""KEYS: paused, the list of those resumed, then for each queue its wake list and its message lists.
ARGV: field, number of message lists of a queue.
"""

LOCATE = Script(
    """
local key, id, start, stop = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local sorted = redis.call('TYPE', key).ok == 'zset'
local found = redis.call(sorted and 'ZRANGE' or 'LRANGE', key, start, stop)
for i, each in ipairs(found) do
  if string.find(each, id, 1, true) then
    local ok, decoded = pcall(cjson.decode, each)
    local message = ok and type(decoded) == 'table' and (sorted and decoded.message or decoded)
    local headers = type(message) == 'table' and message.headers
    if type(headers) == 'table' and headers.id == id then
      return {#found, i - 1, redis.call(sorted and 'ZCARD' or 'LLEN', key), each}
    end
  end
end
return {#found}
"""
)
"""Looks for a task in a part of a list or sorted set, without sending what it passes.

ARGV: key, task id, start, stop. Returns {how many were there}, and if it is: its number among them, how many the key has,
the element. No KEYS: who may only read is refused scripts that announce keys.
"""

HELD = Script(
    """
local id, holding = ARGV[1], {}
for i = 3, #ARGV do
  local cursor, pages, found = '0', 0, false
  repeat
    local page = redis.call('HSCAN', ARGV[i], cursor, 'COUNT', 500)
    for entry = 2, #page[2], 2 do
      local raw = page[2][entry]
      if not found and string.find(raw, id, 1, true) then
        local ok, decoded = pcall(cjson.decode, raw)
        local message = ok and type(decoded) == 'table' and decoded[1]
        local headers = type(message) == 'table' and message.headers
        found = type(headers) == 'table' and headers.id == id
      end
    end
    cursor, pages = page[1], pages + 1
  until found or cursor == '0' or pages >= tonumber(ARGV[2])
  if found then table.insert(holding, i - 3) end
end
return holding
"""
)
"""ARGV: task id, pages that are looked at, `unacked` of nodes. Returns the numbers, from 0, of those who hold the task."""

TAKE_OUT = Script(
    """
local removed
if ARGV[3] == 'parked' then
  removed = redis.call('ZREM', ARGV[1], ARGV[2])
else
  removed = redis.call('LREM', ARGV[1], ARGV[3], ARGV[2])
end
if removed > 0 then redis.pcall('HDEL', ARGV[4], ARGV[5]) end
return removed
"""
)
"""ARGV: key, element, from which end (1, -1) or 'parked', pending, task id."""

TIDY = Script(
    """
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local next_due = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2])
local oldest = redis.call('TIME')[1] - ARGV[3]
local empty, gone = {}, {}
for i = 1, #page[2], 2 do
  local at, due, list = string.match(page[2][i + 1], '^(%d+) (%S+) (.+)$')
  due = tonumber(due)
  if not (due and next_due and due >= next_due) then
    if list and empty[list] == nil then empty[list] = redis.call('EXISTS', ARGV[4] .. list) == 0 end
    if not list or empty[list] or tonumber(at) < oldest then table.insert(gone, page[2][i]) end
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
return {page[1], #gone}
"""
)
"""Forgets what is not pending any more though no worker has taken it: it was purged, or its queue has expired.

KEYS: pending, parked. ARGV: cursor, how many to look at, seconds after which it is forgotten while others wait in its list,
prefix. Returns {cursor, how many}.
"""

ACQUIRE = Script(
    """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. ', "at": ' .. redis.call('TIME')[1] .. '}')
redis.call('SET', KEYS[2], ARGV[4])
return 1
"""
)
"""KEYS: leases, owner. ARGV: node, the lease that was read or '', the new lease's JSON but for its end, its token."""

REFRESH = Script(
    f"""
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[2] then return redis.error_reply('{FENCED} another process has taken over the node') end
if not owner then redis.call('SET', KEYS[2], ARGV[2]) end
local now = redis.call('TIME')[1]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. ', "at": ' .. now .. '}}')
return {{now, redis.call('ZCOUNT', KEYS[3], '-inf', now + ARGV[4]), redis.call('LLEN', KEYS[4])}}
"""
)
"""KEYS: leases, owner, parked, malformed. ARGV: node, token, the lease's JSON but for its end, seconds ahead.

Returns Redis' time, how many parked messages are due so soon, how many malformed ones there are.
"""

RELEASE = Script(
    """
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
if redis.call('HLEN', KEYS[3]) > 0 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[3] == '' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], '', 'EX', ARGV[3]) end
return 1
"""
)
"""Gives up a node that holds nothing any more.

KEYS: leases, owner, unacked. ARGV: node, token, seconds for which the former owner is kept from coming back, or ''.
"""

STORE = Script(
    """
local stored = redis.call('GET', KEYS[1])
if stored and string.sub(stored, 1, 21) == '{"status": "SUCCESS",' then return 0 end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""
)
"""Stores the state of a task, unless it has succeeded. KEYS: of the result. ARGV: its JSON, seconds that it lasts or 0."""
