"""Dead letters: the tasks that have failed for good, and the messages that are no task, kept to be looked at.

In Redis, below `fleet:dead`: the letters' ids by time of arrival, the same by name, queue and reason, and a
hash for each letter. A letter is added once, however often it is handed in; the store keeps the newest
`limit` letters of the last `age` seconds and counts what it drops. Every change is one script.
"""

import base64
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from uuid import uuid4

import redis
from kombu.utils import json as kombu_json

from .headers import LOST, ORIGIN, SINCE, as_count, as_moment, as_step, as_text

REASONS = (
    "failed",
    "exhausted",
    "time_limit",
    "worker_lost",
    "rejected",
    "unknown_task",
    "invalid",
    "undecodable",
    "poison",
)

TRACEBACK_LIMIT = 64 * 1024
CLAIM_SECONDS = 60
"""How long a retry may take; a claim older than this was given up by a crash."""

_ERROR_LIMIT = 4096
_FACET_LIMIT = 200
_SHORT_CALL = 1024
"""Arguments of at most so many characters are shown in lists."""
_CHUNK = 500
_SEARCHED = 250
"""Letters whose text one step looks at: Redis does nothing else meanwhile."""
_FACETS = ("name", "queue", "reason")


@dataclass(frozen=True)
class DeadLetter:
    """A task or message that was set aside. Times are seconds since the epoch."""

    task_id: str
    """Of a message without a task id: `message-` and its delivery tag, or a digest of it."""
    name: str
    queue: str
    reason: str
    """One of REASONS."""
    exception: str = ""
    """The name of its class."""
    error: str = ""
    """The text of the exception."""
    args: Sequence[Any] | None = None
    """None: not known, or too long for a list of letters."""
    kwargs: Mapping[str, Any] | None = None
    message: str = ""
    """kombu's envelope as it was in the queue, or what was there instead (bytes that are no UTF-8: surrogates).
    Lists leave it out."""
    traceback: str = ""
    """Its last 64 KiB. Lists leave it out."""
    attempts: int = 1
    losses: int = 0
    """How many times a process that held the task has died."""
    since: float | None = None
    """When it was first due."""
    failed_at: float = 0.0
    worker: str = ""
    priority: int | None = None
    """As the broker has it: 0 goes first."""
    root_id: str = ""
    parent_id: str = ""
    trace_id: str = ""
    origin: str = ""
    """The id of the dead letter that this task retried."""
    retried_as: str = ""
    """The id of the task that retries this one."""
    retried_by: str = ""
    retried_at: float | None = None


@dataclass(frozen=True)
class Page:
    """Some letters of a list, newest first; `total` counts all that the filters let through."""

    letters: tuple[DeadLetter, ...]
    total: int


@dataclass(frozen=True)
class Claim:
    """The right to retry a letter. `again`: an earlier holder went away, and may have published the task."""

    task_id: str
    token: str
    retries: int
    again: bool


class RetryError(Exception):
    """The letter cannot be retried now. `why`: missing, retried or busy."""

    def __init__(self, task_id: str, why: str, retried_as: str = "") -> None:
        text = {
            "missing": "there is no such dead letter",
            "retried": f"it was retried as {retried_as}",
            "busy": "it is being retried by somebody else",
        }[why]
        super().__init__(f"{task_id}: {text}")
        self.task_id, self.why, self.retried_as = task_id, why, retried_as


def letter_of(message: str, *, reason: str, **known: Any) -> DeadLetter:
    """The letter for a message as it was in the queue, kombu's envelope or anything. `known` wins."""
    envelope = _mapping(_parsed(message))
    headers, properties = _mapping(envelope.get("headers")), _mapping(envelope.get("properties"))
    delivery = _mapping(properties.get("delivery_info"))
    args, kwargs = _call(envelope, properties)
    found: dict[str, Any] = {
        "task_id": as_text(headers.get("id")) or _id_of(message, properties),
        "name": as_text(headers.get("task")),
        "queue": as_text(delivery.get("routing_key")),
        "args": args,
        "kwargs": kwargs,
        "message": message,
        "attempts": as_count(headers.get("retries")) + 1,
        "losses": as_count(headers.get(LOST)),
        "since": as_moment(headers.get(SINCE)),
        "priority": as_step(properties.get("priority")),
        "root_id": as_text(headers.get("root_id")),
        "parent_id": as_text(headers.get("parent_id")),
        "trace_id": trace_id(headers.get("traceparent")),
        "origin": as_text(headers.get(ORIGIN)),
        "failed_at": time.time(),
    }
    return DeadLetter(**{**found, "reason": reason, **known})


class DeadLetters:
    """The store. `limit`: letters kept; `age`: seconds that they are kept. Methods raise redis.RedisError."""

    def __init__(self, client: "redis.Redis", limit: int, age: int, prefix: str = "") -> None:
        self._client = client
        self._limit = limit
        self._age = age
        self._base = f"{prefix}fleet:dead"
        self._add = client.register_script(_ADD)
        self._delete = client.register_script(_DELETE)
        self._scan = client.register_script(_SCAN)
        self._claim = client.register_script(_CLAIM)
        self._settle = client.register_script(_SETTLE)

    def add(self, letter: DeadLetter) -> bool:
        """Whether it is new: a second letter of a task changes nothing."""
        stored = _stored(letter)
        facets = [getattr(letter, facet)[:_FACET_LIMIT] for facet in _FACETS]
        values = [_encoded(each) for pair in stored.items() for each in pair]
        keys: list[Any] = [letter.task_id, self._limit, self._age, *map(_encoded, facets)]
        return bool(self._add(keys=[self._base], args=[*keys, *values]))

    def get(self, task_id: str) -> DeadLetter | None:
        """The whole letter."""
        found: Any = self._client.hgetall(self._letter(task_id))
        return _letter(found) if found else None

    def list(
        self,
        offset: int = 0,
        limit: int = 50,
        *,
        name: str = "",
        queue: str = "",
        reason: str = "",
        text: str = "",
    ) -> Page:
        """Letters, newest first. `text`: part of the id, name, error or arguments, in any case of letters."""
        total, wanted = 0, []
        if not text and len([each for each in (name, queue, reason) if each]) <= 1:
            key, oldest = self._index(name, queue, reason), time.time() - self._age
            total = int(self._client.zcount(key, oldest, "+inf"))
            found: Any = self._client.zrevrangebyscore(key, "+inf", oldest, offset, limit) if limit else []
            wanted = [each.decode() for each in found]
        else:
            for task_id in self.ids(name=name, queue=queue, reason=reason, text=text):
                if offset <= total < offset + limit:
                    wanted.append(task_id)
                total += 1
        return Page(tuple(self._briefly(wanted)), total)

    def ids(
        self,
        until: float | None = None,
        /,
        *,
        name: str = "",
        queue: str = "",
        reason: str = "",
        text: str = "",
    ) -> Iterator[str]:
        """The ids that the filters let through, newest first, read as needed; for what is done in bulk.

        `until`: only letters that were there at this moment, by the clock of Redis.
        """
        indexes = [
            f"{self._base}:{facet}:{value[:_FACET_LIMIT]}"
            for facet, value in zip(_FACETS, (name, queue, reason), strict=True)
            if value
        ]
        position, seen = ["+inf" if until is None else f"{until:.6f}", ""], set()
        while position:
            # No KEYS: those that may only read are refused scripts that announce keys.
            step = _SEARCHED if text else 2 * _CHUNK
            arguments: list[Any] = [self._base, self._age, *position, step, text.lower(), *indexes]
            answer: Any = self._scan(args=arguments)
            position = [each.decode() for each in answer[0]]
            for task_id in (each.decode() for each in answer[1]):
                if task_id not in seen:
                    seen.add(task_id)
                    yield task_id

    def brief(self, ids: Sequence[str]) -> tuple[DeadLetter, ...]:
        """Those of these letters that there are, as lists show them."""
        return tuple(self._briefly(ids))

    def count(self) -> int:
        return int(self._client.zcount(self._base, time.time() - self._age, "+inf"))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many letters of each name, queue and reason: {"name": {...}, "queue": {...}, "reason": {...}}."""
        found: Any = self._client.hgetall(f"{self._base}:counts")
        counts: dict[str, dict[str, int]] = {facet: {} for facet in _FACETS}
        for key, number in found.items():
            facet, _, value = key.decode().partition(":")
            counts[facet][value] = int(number)
        return counts

    def by_queue_and_reason(self) -> dict[tuple[str, str], int]:
        """How many letters of each queue and reason; pairs that have none are left out. Needs Redis 7."""
        counts = self.counts()
        pairs = [(queue, reason) for queue in counts["queue"] for reason in counts["reason"]]
        pipe = self._client.pipeline(transaction=False)
        for queue, reason in pairs:
            pipe.zintercard(2, [self._index("", queue, ""), self._index("", "", reason)])
        return {pair: count for pair, count in zip(pairs, pipe.execute(), strict=True) if count}

    def totals(self) -> dict[str, int]:
        """Since the store is there: letters added, trimmed (over the limit), expired, deleted, withdrawn, retried."""
        found: Any = self._client.hgetall(f"{self._base}:totals")
        zero = dict.fromkeys(("added", "trimmed", "expired", "deleted", "withdrawn", "retried"), 0)
        return zero | {key.decode(): int(number) for key, number in found.items()}

    def delete(self, ids: Collection[str]) -> int:
        """How many there were."""
        all_ids, deleted = list(ids), 0
        for start in range(0, len(all_ids), _CHUNK):
            deleted += int(
                self._delete(keys=[self._base], args=["deleted", *all_ids[start : start + _CHUNK]])
            )
        return deleted

    def purge(self, *, name: str = "", queue: str = "", reason: str = "", text: str = "") -> int:
        """Deletes what the filters let through (without any: all). How many."""
        deleted, chunk = 0, list[str]()
        for task_id in self.ids(name=name, queue=queue, reason=reason, text=text):
            chunk.append(task_id)
            if len(chunk) == _CHUNK:
                deleted += self.delete(chunk)
                chunk = []
        return deleted + self.delete(chunk)

    def withdraw(self, ids: Collection[str]) -> int:
        """Deletes letters of tasks that have succeeded after all, unless they were retried. How many."""
        return int(self._delete(keys=[self._base], args=["withdrawn", *ids]))

    def claim(self, task_id: str, force: bool = False, seconds: int = CLAIM_SECONDS) -> Claim:
        """Nobody else can claim the letter for so long. Raises RetryError; `force`: also one retried before."""
        token = uuid4().hex
        answer: Any = self._claim(keys=[self._base], args=[task_id, token, seconds, int(force)])
        if answer[0] != b"claimed":
            raise RetryError(task_id, answer[0].decode(), answer[1].decode())
        return Claim(task_id, token, int(answer[1]), bool(int(answer[2])))

    def settle(self, claim: Claim, retried_as: str, by: str) -> bool:
        """Notes that the letter was retried. False: the claim had expired, or the letter is gone."""
        arguments: list[str | float] = [claim.task_id, claim.token, retried_as, by, time.time()]
        return bool(self._settle(keys=[self._base], args=arguments))

    def release(self, claim: Claim) -> None:
        """Gives up a claim: the letter was not retried, as far as one knows."""
        self._settle(keys=[self._base], args=[claim.task_id, claim.token, "", "", 0])

    def _letter(self, task_id: str) -> str:
        return f"{self._base}:letter:{task_id}"

    def _index(self, *values: str) -> str:
        for facet, value in zip(_FACETS, values, strict=True):
            if value:
                return f"{self._base}:{facet}:{value[:_FACET_LIMIT]}"
        return self._base

    def _briefly(self, ids: Sequence[str]) -> Iterator[DeadLetter]:
        pipe = self._client.pipeline(transaction=False)
        for task_id in ids:
            pipe.hmget(self._letter(task_id), _BRIEF)
        for values in pipe.execute() if ids else []:
            if values[0] is not None:
                yield _letter(
                    {key: value for key, value in zip(_BRIEF, values, strict=True) if value is not None}
                )


_RETRIED = ("retried_as", "retried_by", "retried_at")
_LONG = ("message", "traceback", "args", "kwargs")
_BRIEF = (b"brief", b"retried_as", b"retried_by", b"retried_at")
_NAMES = {field.name for field in fields(DeadLetter)}


def _stored(letter: DeadLetter) -> dict[str, str]:
    """The fields of the letter's hash. `brief` has what lists show, `text` what is searched."""
    letter = replace(letter, traceback=letter.traceback[-TRACEBACK_LIMIT:], error=letter.error[:_ERROR_LIMIT])
    args, kwargs = _dumps(letter.args), _dumps(letter.kwargs)
    short = {name: value for name, value in asdict(letter).items() if name not in (*_LONG, *_RETRIED)}
    if len(args) + len(kwargs) <= _SHORT_CALL:
        short |= {"args": letter.args, "kwargs": letter.kwargs}
    searched = (letter.task_id, letter.name, letter.exception, letter.error[:500], args[:500], kwargs[:500])
    return {
        "brief": _dumps(short),
        "text": "\n".join(searched).lower(),
        "args": args,
        "kwargs": kwargs,
        "message": letter.message,
        "traceback": letter.traceback,
    }


def _letter(found: Mapping[bytes, bytes]) -> DeadLetter:
    known: dict[str, Any] = _loaded(found[b"brief"])
    for name in ("message", "traceback", "retried_as", "retried_by"):
        if name.encode() in found:
            known[name] = found[name.encode()].decode(errors="surrogateescape")
    for name in ("args", "kwargs"):
        if name.encode() in found:
            known[name] = _loaded(found[name.encode()])
    if b"retried_at" in found:
        known["retried_at"] = float(found[b"retried_at"])
    return DeadLetter(**{name: value for name, value in known.items() if name in _NAMES})


def _loaded(raw: bytes) -> Any:
    """JSON; half of a surrogate pair, which no program could pass on, is replaced."""
    value = json.loads(raw)
    if b"\\ud" not in raw.lower():
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def call_of(message: str) -> tuple[Any, Any]:
    """The arguments, positional and named, in a message as it was in the queue; None: they cannot be read."""
    envelope = _mapping(_parsed(message))
    return _call(envelope, _mapping(envelope.get("properties")))


def _call(envelope: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[Any, Any]:
    """The arguments in a message's body, as far as they can be read."""
    body = envelope.get("body")
    if envelope.get("content-type") != "application/json" or not isinstance(body, str):
        return None, None
    if properties.get("body_encoding") == "base64":
        try:
            body = base64.b64decode(body).decode()
        except ValueError:
            return None, None
    payload = _parsed(body)
    if isinstance(payload, list) and len(payload) == 3:
        return (
            payload[0] if isinstance(payload[0], list) else None,
            payload[1] if isinstance(payload[1], dict) else None,
        )
    return None, None


def _dumps(value: object) -> str:
    """As kombu writes it: times, UUIDs and decimals are no obstacle."""
    return str(kombu_json.dumps(value))  # type: ignore[no-untyped-call]


def _encoded(text: str) -> bytes:
    """Bytes that were no text come back as they were; what cannot be encoded is no reason to lose a letter."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def trace_id(traceparent: object) -> str:
    """The second part of W3C's `00-<trace id>-<span id>-<flags>`."""
    parts = as_text(traceparent).split("-")
    return parts[1] if len(parts) == 4 else ""


def _id_of(message: str, properties: Mapping[str, Any]) -> str:
    tag = as_text(properties.get("delivery_tag"))
    return f"message-{tag or hashlib.sha256(_encoded(message)).hexdigest()[:32]}"


_DROP = """
local base = KEYS[1]
local function drop(id)
  local key = base .. ':letter:' .. id
  local facets = {'name', 'queue', 'reason'}
  local values = redis.call('HMGET', key, unpack(facets))
  for i, facet in ipairs(facets) do
    if values[i] then
      redis.call('ZREM', base .. ':' .. facet .. ':' .. values[i], id)
      local field = facet .. ':' .. values[i]
      if redis.call('HINCRBY', base .. ':counts', field, -1) <= 0 then
        redis.call('HDEL', base .. ':counts', field)
      end
    end
  end
  redis.call('ZREM', base, id)
  return redis.call('UNLINK', key)
end
local function now()
  local t = redis.call('TIME')
  return t[1] + t[2] / 1000000
end
"""

# A letter's hash outlives its places in the indexes, which are found through it.
_ADD = (
    _DROP
    + """
local id, limit, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = base .. ':letter:' .. id
if redis.call('EXISTS', key) == 1 then return 0 end
local at = now()
redis.call('HSET', key, 'name', ARGV[4], 'queue', ARGV[5], 'reason', ARGV[6], unpack(ARGV, 7))
redis.call('EXPIRE', key, 2 * age + 172800)
redis.call('ZADD', base, at, id)
redis.call('EXPIRE', base, age + 86400)
for i, facet in ipairs({'name', 'queue', 'reason'}) do
  local index = base .. ':' .. facet .. ':' .. ARGV[3 + i]
  redis.call('ZADD', index, at, id)
  redis.call('EXPIRE', index, age + 86400)
  redis.call('HINCRBY', base .. ':counts', facet .. ':' .. ARGV[3 + i], 1)
end
redis.call('EXPIRE', base .. ':counts', age + 86400)
redis.call('HINCRBY', base .. ':totals', 'added', 1)
local function drop_all(ids, count)
  for _, old in ipairs(ids) do drop(old) end
  if #ids > 0 then redis.call('HINCRBY', base .. ':totals', count, #ids) end
end
drop_all(redis.call('ZRANGE', base, '-inf', at - age, 'BYSCORE', 'LIMIT', 0, 100), 'expired')
local excess = redis.call('ZCARD', base) - limit
if excess > 0 then drop_all(redis.call('ZRANGE', base, 0, math.min(excess, 100) - 1), 'trimmed') end
return 1
"""
)

_DELETE = (
    _DROP
    + """
local why, deleted = ARGV[1], 0
for i = 2, #ARGV do
  if why == 'deleted' or not redis.call('HGET', base .. ':letter:' .. ARGV[i], 'retried_as') then
    deleted = deleted + drop(ARGV[i])
  end
end
if deleted > 0 then redis.call('HINCRBY', base .. ':totals', why, deleted) end
return deleted
"""
)

# A bounded step down the smallest index: the position to go on from, and the ids that pass.
_SCAN = """
local base, score, last, count, text = ARGV[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local oldest = redis.call('TIME')[1] - tonumber(ARGV[2])
local smallest, others = base, {}
for i = 7, #ARGV do
  if smallest == base or redis.call('ZCARD', ARGV[i]) < redis.call('ZCARD', smallest) then
    if smallest ~= base then table.insert(others, smallest) end
    smallest = ARGV[i]
  else
    table.insert(others, ARGV[i])
  end
end
local found = redis.call('ZREVRANGEBYSCORE', smallest, score, oldest, 'WITHSCORES', 'LIMIT', 0, count)
local passed = {}
for i = 1, #found, 2 do
  local id = found[i]
  local pass = not (last ~= '' and tonumber(found[i + 1]) == tonumber(score) and id >= last)
  for _, other in ipairs(others) do
    pass = pass and redis.call('ZSCORE', other, id)
  end
  if pass and text ~= '' then
    pass = string.find(redis.call('HGET', base .. ':letter:' .. id, 'text') or '', text, 1, true)
  end
  if pass then table.insert(passed, id) end
end
if #found < 2 * count then return {{}, passed} end
return {{found[#found], found[#found - 1]}, passed}
"""

_CLAIM = """
local base, id = KEYS[1], ARGV[1]
local key = base .. ':letter:' .. id
if redis.call('EXISTS', key) == 0 then return {'missing', ''} end
local retried_as = redis.call('HGET', key, 'retried_as')
if retried_as and ARGV[4] ~= '1' then return {'retried', retried_as} end
if not redis.call('SET', base .. ':lock:' .. id, ARGV[2], 'NX', 'EX', ARGV[3]) then return {'busy', ''} end
local claims = redis.call('HINCRBY', key, 'claims', 1)
return {'claimed', redis.call('HGET', key, 'retries') or '0', claims > 1 and 1 or 0}
"""

_SETTLE = """
local base, id = KEYS[1], ARGV[1]
local key, lock = base .. ':letter:' .. id, base .. ':lock:' .. id
if redis.call('GET', lock) ~= ARGV[2] then return 0 end
redis.call('DEL', lock)
if ARGV[3] == '' or redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'retried_as', ARGV[3], 'retried_by', ARGV[4], 'retried_at', ARGV[5])
redis.call('HDEL', key, 'claims')
redis.call('HINCRBY', key, 'retries', 1)
redis.call('HINCRBY', base .. ':totals', 'retried', 1)
return 1
"""
