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
ring(KEYS[2])
for i = 1, ARGV[2] and #KEYS or 0 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
"""
)
"""KEYS: list, wake, [the queue's other lists]. ARGV: message, [ms until the queue expires]."""

RING = Script(_RING + "ring(KEYS[1])")
"""KEYS: wake."""

CLAIM = Script(
    _OWN
    + """
if disowned(KEYS[3], ARGV[1]) then return fenced end
local first = 6 + tonumber(ARGV[2])
local bad = 0
for i = first, #KEYS do
  local queue = ARGV[i - first + 3]
  while true do
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
      local cancelled = type(id) == 'string' and redis.call('ZSCORE', KEYS[4], id)
      return {i - first, message, cancelled and 1 or 0}
    end
    redis.call('LPUSH', KEYS[5], queue .. '\\n' .. message)
    bad = bad + 1
    if bad == 100 then return {-1} end
  end
end
for i = 6, first - 1 do redis.call('DEL', KEYS[i]) end
return false
"""
)
"""Pops the first message there is and records that the node has it.

KEYS: unacked, index, owner, cancelled, malformed, wake lists, message lists in the order of preference.
ARGV: token or '', number of wake lists, for each message list its queue as JSON, or '' for one without acknowledgement.
Returns {number of the list from 0, message, whether it is cancelled}; {-1}: to be called again; nil: nothing there, and
the wake lists are empty, so that whatever is put from now on wakes a consumer. An entry names the queue in place of
exchange and routing key: kombu's own restore, too, then needs no binding to put it back.
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
for i = 2, #ARGV, 5 do
  local tag, seen, place, where, payload = unpack(ARGV, i, i + 4)
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
ARGV: token or '', then for each entry: tag, its sha1, place (head, tail, park, malformed, drop), where (number of the key
of the list; the due time for park), payload.
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
