"""The index of tasks: what became of each, to be listed by time and searched.

In Redis, below `fleet:tasks`: the ids by the time when a worker first saw them, the same by state, name, queue
and worker, and a hash for each task (`fleet:task:<id>`). A batch of records is written by one script, which
also keeps the index within its limit. Records of one task may come in any order and from several workers: a
later attempt, or a later step of the same attempt, wins.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import redis

STATES = ("RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "IGNORED")

_STEPS = {"RECEIVED": 1, "STARTED": 2}
_END = 3
_BATCH = 200
_PAGE_LIMIT = 500
_SCAN_STEP, _SCAN_STEPS = 2000, 4
_INDEXED_LENGTH = 200


@dataclass(frozen=True)
class TaskRecord:
    """What is known of a task at one moment. Times are seconds since the epoch; empty or None: not known."""

    task_id: str
    state: str
    """One of STATES."""
    at: float
    """When it got there."""
    name: str = ""
    queue: str = ""
    worker: str = ""
    args: str = ""
    """As Celery shows the arguments to people."""
    kwargs: str = ""
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
            self._write(keys=[self._base], args=[self._record, self._limit, self._age, chunk])

    def get(self, task_id: str) -> TaskRecord | None:
        found: Any = self._client.hgetall(self._record + task_id)
        return _record_of(task_id, found) if found else None

    def count(self, *, state: str = "", name: str = "", queue: str = "", worker: str = "") -> int:
        """How many tasks have this one property; without any: how many the index has."""
        return int(self._client.zcard(self._indexes(state, name, queue, worker)[0]))

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

        `text`: part of the id, name, arguments or error, in any case of letters. One call reads so much of the
        index and no more: a page may be short, or empty, though its cursor says that there is more.
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
        for _ in range(_SCAN_STEPS):
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
            if not position or len(records) >= limit:
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
_FLOATS = {"at", "received", "started", "ended", "runtime", "eta"}
_INTEGERS = {"retries", "losses", "priority"}
_FIELDS = tuple(field.name for field in fields(TaskRecord) if field.name != "task_id")
_CUT = frozenset(_FACETS)


def version(record: TaskRecord) -> int:
    """Grows from step to step of a task and from attempt to attempt."""
    return (record.retries + record.losses) * 10 + _STEPS.get(record.state, _END)


def _entry(record: TaskRecord) -> list[Any]:
    """[id, version, at, first seen, [field, value, ...]] with the fields that are known."""
    flat: list[str] = []
    for name in _FIELDS:
        value = getattr(record, name)
        if value is not None and value != "":
            text = str(value)
            flat += (name, text[:_INDEXED_LENGTH] if name in _CUT else text)
    return [record.task_id, version(record), record.at, record.received or record.at, flat]


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
_WRITE = """
local base, prefix, limit, age = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local facets = {'state', 'name', 'queue', 'worker'}
local added, latest = 0, 0
local touched = {[base] = true}
for _, entry in ipairs(cjson.decode(ARGV[4])) do
  local id, version, at, first, flat = entry[1], entry[2], entry[3], entry[4], entry[5]
  local key = prefix .. id
  local old = redis.call('HMGET', key, 'version', 'at', 'first', unpack(facets))
  if at > latest then latest = at end
  if not old[1] or version >= tonumber(old[1]) or at > tonumber(old[2]) + 5 then
    first = old[3] or string.format('%.6f', first)
    redis.call('HSET', key, 'version', version, 'first', first, unpack(flat))
    if not old[1] then
      added = added + 1
      redis.call('ZADD', base, first, id)
      redis.call('EXPIRE', key, 2 * age + 172800)
    end
    local new = redis.call('HMGET', key, unpack(facets))
    for i, facet in ipairs(facets) do
      if new[i] ~= old[3 + i] then
        if old[3 + i] then redis.call('ZREM', base .. ':' .. facet .. ':' .. old[3 + i], id) end
        local index = base .. ':' .. facet .. ':' .. new[i]
        redis.call('ZADD', index, first, id)
        touched[index] = true
      end
    end
  end
end
for index in pairs(touched) do redis.call('EXPIRE', index, age + 86400) end
if added > 0 then redis.call('HINCRBY', base .. ':totals', 'added', added) end
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
