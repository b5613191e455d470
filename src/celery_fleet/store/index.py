"""The index of tasks: what became of each, to be listed by time and searched.

In Redis, below `fleet:tasks`: the ids by the time when a worker first saw them, the same by state, name, queue
and worker, and a hash for each task (`fleet:task:<id>`). A batch of records is written by one script, which
also keeps the index within its limit, and counts what is news (see `figures`). Records of one task may come in any
order and from several writers: a later attempt, or a later step of the same attempt, wins.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import redis

from .figures import BOUNDS, KEPT, LIMITS, OTHER, priority_word

STATES = ("PENDING", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED")

_STEPS = {"PENDING": 0, "RECEIVED": 1, "STARTED": 2}
_END = 3
_BATCH = 200
_PAGE_LIMIT = 500
_SCAN_STEP = 400
"""Records that Redis looks at in one go: it does nothing else meanwhile."""

_SCAN_TIME = 0.05
"""Seconds after which a search gives what it has found by then."""

_INDEXED_LENGTH = 200


@dataclass(frozen=True)
class TaskRecord:
    """What is known of a task at one moment. Times are seconds since the epoch; empty or None: not known."""

    task_id: str
    state: str
    """One of STATES. PENDING is for who publishes: every word of a worker replaces it, whichever is written first."""
    at: float
    """When it got there."""
    name: str = ""
    queue: str = ""
    worker: str = ""
    args: str = ""
    """As Celery shows the arguments to people."""
    kwargs: str = ""
    since: float | None = None
    """From when it waited to begin, in this attempt: when it was due."""
    received: float | None = None
    started: float | None = None
    ended: float | None = None
    runtime: float | None = None
    """Seconds."""
    eta: float | None = None
    retries: int = 0
    losses: int = 0
    priority: int | None = None
    """As the broker has it: 0 goes first."""
    error: str = ""
    root_id: str = ""
    parent_id: str = ""
    trace_id: str = ""
    origin: str = ""
    """The id of the dead letter that this task retries."""


@dataclass(frozen=True)
class TaskPage:
    """Some records, newest first. `cursor` goes on where they end; empty: that was all."""

    records: tuple[TaskRecord, ...]
    cursor: str


class TaskIndex:
    """The index. `limit`: tasks kept; `age`: seconds that they are kept. Methods raise redis.RedisError."""

    def __init__(self, client: redis.Redis, limit: int, age: int, prefix: str = "") -> None:
        self._client = client
        self._limit = limit
        self._age = age
        self._base = f"{prefix}fleet:tasks"
        self._figures = f"{prefix}fleet:figures"
        self._record = f"{prefix}fleet:task:"
        self._write = client.register_script(_WRITE)
        self._search = client.register_script(_SEARCH)

    def write(self, batch: Iterable[TaskRecord]) -> None:
        """One round trip for each 200 records."""
        entries = [_entry(record) for record in batch]
        for start in range(0, len(entries), _BATCH):
            # Lone surrogates, which Redis's decoder would refuse, are replaced.
            text = json.dumps(entries[start : start + _BATCH], ensure_ascii=False)
            chunk = text.encode(errors="replace")
            self._write(
                keys=[self._base],
                args=[self._record, self._limit, self._age, chunk, self._figures],
            )

    def get(self, task_id: str) -> TaskRecord | None:
        found: Any = self._client.hgetall(self._record + task_id)
        return _record_of(task_id, found) if found else None

    def get_many(self, task_ids: Collection[str]) -> dict[str, TaskRecord]:
        """Those of them that the index has, in one round trip."""
        pipe = self._client.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hgetall(self._record + task_id)
        found = zip(task_ids, pipe.execute(), strict=True)
        return {task_id: _record_of(task_id, values) for task_id, values in found if values}

    def count(self, *, state: str = "", name: str = "", queue: str = "", worker: str = "") -> int:
        """How many tasks have this one property; without any: how many the index has."""
        return int(self._client.zcard(self._indexes(state, name, queue, worker)[0]))

    def counts(self) -> dict[str, int]:
        """How many tasks of the index are in each state."""
        pipe = self._client.pipeline(transaction=False)
        for state in STATES:
            pipe.zcard(f"{self._base}:state:{state}")
        return dict(zip(STATES, pipe.execute(), strict=True))

    def totals(self) -> dict[str, int]:
        """Since the index is there: tasks that it took in, and dropped over the limit or for their age."""
        found: Any = self._client.hgetall(f"{self._base}:totals")
        return {"added": 0, "trimmed": 0, "expired": 0} | {
            key.decode(): int(value) for key, value in found.items()
        }

    def search(
        self,
        *,
        task_id: str = "",
        state: str = "",
        name: str = "",
        queue: str = "",
        worker: str = "",
        text: str = "",
        since: float | None = None,
        until: float | None = None,
        cursor: str = "",
        limit: int = 50,
    ) -> TaskPage:
        """Tasks that have all of it, newest first.

        `text`: part of the id, name, arguments or error, in any case of letters. One call looks for a
        twentieth of a second and no longer: a page may be short, or empty, though its cursor says that there is more.
        """
        if task_id:
            found = self.get(task_id)
            return TaskPage((found,) if found else (), "")
        indexes = self._indexes(state, name, queue, worker)
        wanted = json.dumps([[f, v] for f, v in zip(_FACETS, (state, name, queue, worker), strict=True) if v])
        limit = min(limit, _PAGE_LIMIT)
        lowest = "-inf" if since is None else f"{since:.6f}"
        position = _from_cursor(cursor) if cursor else ["+inf" if until is None else f"{until:.6f}", ""]
        records: list[TaskRecord] = []
        end = time.monotonic() + _SCAN_TIME
        while True:
            step = limit + 50 if not text and len(indexes) == 1 else _SCAN_STEP
            arguments: list[str | int] = [
                self._record,
                lowest,
                *position,
                step,
                limit - len(records),
                text.lower(),
                wanted,
                *indexes,
            ]
            # No KEYS: those that may only read are refused scripts that announce keys.
            answer: Any = self._search(args=arguments)
            position = [each.decode() for each in answer[0]]
            for each in answer[1]:
                flat = iter(each[1:])
                records.append(_record_of(each[0].decode(), dict(zip(flat, flat, strict=True))))
            if not position or len(records) >= limit or time.monotonic() > end:
                break
        return TaskPage(tuple(records), _cursor(position) if position else "")

    def _indexes(self, *values: str) -> list[str]:
        chosen = [
            f"{self._base}:{facet}:{value[:_INDEXED_LENGTH]}"
            for facet, value in zip(_FACETS, values, strict=True)
            if value
        ]
        return chosen or [self._base]


_FACETS = ("state", "name", "queue", "worker")
_FLOATS = {"at", "since", "received", "started", "ended", "runtime", "eta"}
_INTEGERS = {"retries", "losses", "priority"}
_FIELDS = tuple(field.name for field in fields(TaskRecord) if field.name != "task_id")
_CUT = frozenset(_FACETS)


def version(record: TaskRecord) -> int:
    """Grows from step to step of a task and from attempt to attempt."""
    return (record.retries + record.losses) * 10 + _STEPS.get(record.state, _END)


def _entry(record: TaskRecord) -> list[Any]:
    """[id, version, at, first seen, [field, value, ...], facts for the figures, facets] with what is known."""
    flat: list[str] = []
    for name in _FIELDS:
        value = getattr(record, name)
        if value is not None and value != "":
            text = str(value)
            flat += (name, text[:_INDEXED_LENGTH] if name in _CUT else text)
    started, received = record.started or 0, record.received or 0
    since = record.since or received or started
    facts = [
        record.retries,
        received,
        started,
        max(0.0, started - since),
        -1 if record.runtime is None else record.runtime,
        priority_word(record.priority),
        _exception(record.error) if record.state == "FAILURE" else "",
    ]
    indexed = [getattr(record, facet)[:_INDEXED_LENGTH] for facet in _FACETS]
    return [record.task_id, version(record), record.at, record.received or record.at, flat, facts, indexed]


def _exception(error: str) -> str:
    """The class that a line of error begins with."""
    name = error.partition(":")[0].strip()
    return name[:100] if name.replace(".", "").isidentifier() else OTHER


def _record_of(task_id: str, found: Mapping[bytes, bytes]) -> TaskRecord:
    known: dict[str, Any] = {"at": 0.0, "state": ""}
    for key, value in found.items():
        name = key.decode()
        if name in _FLOATS:
            known[name] = float(value)
        elif name in _INTEGERS:
            known[name] = int(value)
        elif name in _FIELDS:
            known[name] = value.decode(errors="replace")
    return TaskRecord(task_id=task_id, **known)


def _cursor(position: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> list[str]:
    """Raises ValueError for what is no cursor."""
    try:
        score, task_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        float(score)
        return [str(score), str(task_id)]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{cursor!r} is no cursor") from error


# A record's hash outlives its places in the indexes, which are found through it. What comes late, by more
# than clocks differ and batches wait, is news even if its step is not higher: a task that was requeued.
# `counted` says that the end of the task is among the figures. These are summed up here for the whole batch, by
# name and by queue and moment, and then added.
_COUNTING_WRITE = """
local base, prefix, limit, age, figures = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local facets = {'state', 'name', 'queue', 'worker'}
local added, latest = 0, 0
local touched = {[base] = true}

local ends = {SUCCESS = 'succeeded', FAILURE = 'failed', REVOKED = 'revoked'}
local bounds, sizes, other, limits = @BOUNDS@, @SIZES@, '@OTHER@', @LIMITS@
local totals, names, moments, errors, workers, active, known = {}, {}, {}, {}, {}, {}, {}
local cells, histograms = {}, {}
local function within(kind, value)
  if value == '' then return other end
  known[kind] = known[kind] or {}
  local found = known[kind][value]
  if not found then
    local set = figures .. ':known:' .. kind
    found = value
    if redis.call('SISMEMBER', set, value) == 0 then
      if redis.call('SCARD', set) < limits[kind] then redis.call('SADD', set, value) else found = other end
    end
    known[kind][value] = found
  end
  return found
end
local function part(parts, name)
  local found = parts[name]
  if not found then
    found = {}
    parts[name] = found
  end
  return found
end
local function add(counts, field, number) counts[field] = (counts[field] or 0) + number end
local function moment(queue, at)
  if at > (active[queue] or 0) then active[queue] = at end
  return part(part(moments, queue), at - at % sizes[1][1])
end
local function place(seconds)
  for i, bound in ipairs(bounds) do
    if seconds <= bound then return i end
  end
  return #bounds + 1
end
local function cell(name, queue, worker, what)
  local found = within('cells', name .. '\\31' .. queue .. '\\31' .. (worker or ''))
  if found == other then found = other .. '\\31' .. other .. '\\31' end
  return found .. '\\31' .. what
end
local function receive(name, queue, at, priority, worker)
  add(totals, 'received', 1)
  add(cells, cell(name, queue, worker, 'received'), 1)
  add(part(names, name), 'received ' .. priority, 1)
  add(moment(queue, at), 'received', 1)
end
local function account(old, version, at, facts, new)
  local retries, received, started, wait, runtime, priority, exception = unpack(facts)
  local before, state = tonumber(old[1] or 0), new[1]
  local anew = version - version % 10 > before
  local begun = started > 0 and (anew or before % 10 < 2)
  local again = math.max(0, retries - (old[5] or 0) - (old[7] == 'RETRY' and 1 or 0))
  if state == 'RETRY' and (anew or old[7] ~= 'RETRY') then again = again + 1 end
  local ended = not old[6] and ends[state]
  -- Also what was cancelled before a worker took it.
  local came = (received > 0 or ended) and not old[4] and not old[6]
  if not (came or begun or again > 0 or ended) then return end
  local name, queue = within('names', new[2] or ''), within('queues', new[3] or '')
  local of_name = part(names, name)
  local of_both = name .. '\\31' .. queue .. '\\31'
  if came then receive(name, queue, received > 0 and received or at, priority, new[4]) end
  if again > 0 then
    add(totals, 'retried', again)
    add(cells, cell(name, queue, new[4], 'retried'), again)
    add(of_name, 'retried', again)
    add(moment(queue, at), 'retried', again)
  end
  if begun then
    local micro, then_ = math.floor(wait * 1000000 + 0.5), moment(queue, started)
    add(totals, 'waits', 1)
    add(totals, 'wait', micro)
    add(then_, 'waits', 1)
    add(then_, 'wait', micro)
    add(then_, 'w' .. place(wait), 1)
    add(cells, cell(name, queue, new[4], 'started'), 1)
    add(histograms, of_both .. 'wait', micro)
    add(histograms, of_both .. 'w' .. place(wait), 1)
  end
  if ended then
    local then_ = moment(queue, at)
    add(totals, ended, 1)
    add(of_name, ended, 1)
    add(then_, ended, 1)
    if state == 'SUCCESS' and runtime >= 0 then
      local micro, bucket = math.floor(runtime * 1000000 + 0.5), 'r' .. place(runtime)
      add(totals, 'runtime', micro)
      add(of_name, 'runtime', micro)
      add(of_name, bucket, 1)
      add(then_, 'runtime', micro)
      add(then_, bucket, 1)
      add(histograms, of_both .. 'runtime', micro)
      add(histograms, of_both .. bucket, 1)
    elseif state == 'FAILURE' then
      local pair = within('errors', name .. '\\31' .. exception)
      add(errors, pair, 1)
      add(cells, cell(name, queue, new[4], 'failed\\31' .. (pair == other and other or exception)), 1)
      add(workers, within('workers', (new[4] or '') .. '\\31' .. exception), 1)
    end
    if state ~= 'FAILURE' then add(cells, cell(name, queue, new[4], ended), 1) end
  end
  return ended
end
local function store(key, counts, before)
  local fresh = false
  for field, number in pairs(counts) do
    fresh = redis.call('HINCRBY', key, before .. field, number) == number or fresh
  end
  return fresh
end

for _, entry in ipairs(cjson.decode(ARGV[4])) do
  local id, version, at, first, flat, facts = entry[1], entry[2], entry[3], entry[4], entry[5], entry[6]
  local key = prefix .. id
  local old = redis.call('HMGET', key, 'version', 'at', 'first', 'received', 'retries', 'counted', unpack(facets))
  if at > latest then latest = at end
  local new = {}
  for i = 1, 4 do new[i] = entry[7][i] ~= '' and entry[7][i] or old[6 + i] end
  if not old[1] or version >= tonumber(old[1]) or (version % 10 > 0 and at > tonumber(old[2]) + 5) then
    if account(old, version, at, facts, new) then
      flat[#flat + 1] = 'counted'
      flat[#flat + 1] = 1
    end
    first = old[3] or string.format('%.6f', first)
    redis.call('HSET', key, 'version', version, 'first', first, unpack(flat))
    if not old[1] then
      added = added + 1
      redis.call('ZADD', base, first, id)
      redis.call('EXPIRE', key, 2 * age + 172800)
    end
    for i, facet in ipairs(facets) do
      if new[i] ~= old[6 + i] then
        if old[6 + i] then redis.call('ZREM', base .. ':' .. facet .. ':' .. old[6 + i], id) end
        local index = base .. ':' .. facet .. ':' .. new[i]
        redis.call('ZADD', index, first, id)
        touched[index] = true
      end
    end
  elseif facts[2] > 0 and not old[4] then
    if not old[6] then receive(within('names', new[2] or ''), within('queues', new[3] or ''), facts[2], facts[6], new[4]) end
    redis.call('HSET', key, 'received', string.format('%.6f', facts[2]))
  end
end
for index in pairs(touched) do redis.call('EXPIRE', index, age + 86400) end
if added > 0 then redis.call('HINCRBY', base .. ':totals', 'added', added) end

store(figures, totals, '')
for name, counts in pairs(names) do store(figures .. ':names', counts, name .. '\\31') end
store(figures .. ':errors', errors, '')
store(figures .. ':workers', workers, '')
store(figures .. ':cells', cells, '')
store(figures .. ':histograms', histograms, '')
for queue, starts in pairs(moments) do
  for _, size in ipairs(sizes) do
    local sums = {}
    for start, counts in pairs(starts) do
      local sum = part(sums, start - start % size[1])
      for field, number in pairs(counts) do add(sum, field, number) end
    end
    for start, counts in pairs(sums) do
      local key = string.format('%s:%d:%d:%s', figures, size[1], start, queue)
      if store(key, counts, '') then redis.call('EXPIRE', key, size[2]) end
    end
  end
end
for queue, at in pairs(active) do redis.call('ZADD', figures .. ':queues', 'GT', at, queue) end

local function drop(ids, count)
  for _, id in ipairs(ids) do
    local values = redis.call('HMGET', prefix .. id, unpack(facets))
    for i, facet in ipairs(facets) do
      if values[i] then redis.call('ZREM', base .. ':' .. facet .. ':' .. values[i], id) end
    end
    redis.call('ZREM', base, id)
    redis.call('UNLINK', prefix .. id)
  end
  if #ids > 0 then redis.call('HINCRBY', base .. ':totals', count, #ids) end
end
drop(redis.call('ZRANGE', base, '-inf', string.format('%.6f', latest - age), 'BYSCORE', 'LIMIT', 0, 200), 'expired')
local excess = redis.call('ZCARD', base) - limit
if excess > 0 then drop(redis.call('ZRANGE', base, 0, math.min(excess, added + 200) - 1), 'trimmed') end
return added
"""


def _lua(numbers: Iterable[object]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


_WRITE = (
    _COUNTING_WRITE.replace("@BOUNDS@", _lua(BOUNDS[:-1]))
    .replace("@SIZES@", _lua(_lua((size, kept + size)) for size, kept in KEPT.items()))
    .replace("@LIMITS@", _lua(f"{kind} = {limit}" for kind, limit in LIMITS.items()))
    .replace("@OTHER@", OTHER)
)

# A bounded step down the smallest index: the position to go on from, and the records that pass.
_SEARCH = """
local prefix, lowest, score, last = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local count, limit, text, wanted = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], cjson.decode(ARGV[8])
local smallest = ARGV[9]
if #ARGV > 9 then
  local size = redis.call('ZCARD', smallest)
  for i = 10, #ARGV do
    local other = redis.call('ZCARD', ARGV[i])
    if other < size then smallest, size = ARGV[i], other end
  end
end
local found = redis.call('ZREVRANGEBYSCORE', smallest, score, lowest, 'WITHSCORES', 'LIMIT', 0, count)
local records = {}
for i = 1, #found, 2 do
  local id = found[i]
  if #records >= limit then return {{found[i - 1], found[i - 2]}, records} end
  if not (last ~= '' and tonumber(found[i + 1]) == tonumber(score) and id >= last) then
    local pass = true
    if #ARGV > 9 then
      for _, each in ipairs(wanted) do
        pass = pass and redis.call('HGET', prefix .. id, each[1]) == each[2]
      end
    end
    if pass and text ~= '' then
      pass = string.find(string.lower(id), text, 1, true)
      if not pass then
        for _, value in ipairs(redis.call('HMGET', prefix .. id, 'name', 'args', 'kwargs', 'error')) do
          pass = pass or (value and string.find(string.lower(value), text, 1, true))
        end
      end
    end
    if pass then
      local fields = redis.call('HGETALL', prefix .. id)
      if #fields > 0 then table.insert(records, {id, unpack(fields)}) end
    end
  end
end
if #found < 2 * count then return {{}, records} end
return {{found[#found], found[#found - 1]}, records}
"""
