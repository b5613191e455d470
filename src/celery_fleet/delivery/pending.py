"""What was sent and no worker has taken yet: where the message of a task waits, known without looking through queues.

The note of a message is written with it, and removed by the claim that takes it. Only messages of tasks that were sent, or
given back, by processes of the fleet are noted; for others, and for notes that are wrong, there is a bounded look.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from .cancellation import KEPT
from .commands import ClientCommands, Commands
from .keys import SEPARATOR, Keys
from .scripts import HELD, LOCATE, TAKE_OUT, TIDY

MOST = 20_000
"""Messages at each end of a list that are looked at when a note says that it is there."""

_STEP = 500
_PAGE = 1000
_PAGES = 20
"""Of 500 messages that one worker holds."""

_HIGHEST = 10
_LISTS = range(10)
_UNNOTED = 200
"""Messages at each end of a list that are looked at for a task of which nothing is noted."""


@dataclass(frozen=True)
class Pending:
    """A task that waits."""

    task_id: str
    queue: str
    priority: int
    """1 (lowest) to 10."""
    due: float | None
    """When it is due, in seconds since the epoch, if it was sent for later."""


@dataclass(frozen=True)
class Located:
    """A message that was found."""

    key: str
    raw: bytes
    """As it lies there."""
    queue: str
    priority: int
    """1 (lowest) to 10."""
    position: int | None = None
    """In its list, from 1: the next one. None: it is parked."""
    near_head: bool = True
    due: float | None = None
    """Of one that is parked."""

    @property
    def message(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.raw)
        return said["message"] if self.position is None else said


def note(key: str, due: float | None, now: float) -> str:
    """Where a message is: the list (without the prefix) in which it is, or will be when it is due."""
    return f"{int(now)} {due or '-'} {key}"


def _line(key: str) -> tuple[str, int]:
    """The queue, and the priority from 1 to 10, of a list (without the prefix)."""
    queue, _, step = key.partition(SEPARATOR)
    return queue, _HIGHEST - int(step or 0)


def _read(task_id: str, value: bytes) -> tuple[Pending, str]:
    """And the list."""
    _, due, key = value.decode().split(" ", 2)
    return Pending(task_id, *_line(key), None if due == "-" else float(due)), key


def _notes(client: Any, ids: Collection[str], keys: Keys) -> Iterator[tuple[Pending, str]]:
    wanted = list(ids)
    for start in range(0, len(wanted), _PAGE):
        page = wanted[start : start + _PAGE]
        for task_id, value in zip(page, client.hmget(keys.pending, page), strict=True):
            if value is not None:
                yield _read(task_id, value)


def pending(client: Any, ids: Collection[str], keys: Keys = Keys()) -> dict[str, Pending]:  # noqa: B008
    """Those of the tasks that wait. `client`: redis-py's, for the broker's database."""
    return {found.task_id: found for found, _ in _notes(client, ids, keys)}


def locate(client: Any, task_id: str, keys: Keys = Keys()) -> Located | None:  # noqa: B008
    """The message of a task that is noted, if it is found in bounded work."""
    for found, key in _notes(client, [task_id], keys):
        if found.due is not None and (parked := _locate_parked(client, task_id, found.due, keys)):
            return parked
        return _look_through(client, key, task_id, MOST, keys)
    return None


def search(client: Any, task_id: str, queues: Collection[str], keys: Keys = Keys()) -> Located | None:  # noqa: B008
    """The message of a task of which nothing is noted: among the first and the last of each list, and those due next."""
    lists = [keys.queue(queue, step).removeprefix(keys.prefix) for queue in queues for step in _LISTS]
    pipe = client.pipeline(transaction=False)
    for key in lists:
        pipe.exists(keys.prefix + key)
    for key, there in zip(lists, pipe.execute(), strict=True):
        if there and (found := _look_through(client, key, task_id, _UNNOTED, keys)):
            return found
    return _look_through_parked(client, task_id, 0, _UNNOTED, keys)


def _look_through(client: Any, key: str, task_id: str, most: int, keys: Keys) -> Located | None:
    """Looks at so many messages at each end of a list, from both ends in turn."""
    whole, step = keys.prefix + key, max(1, min(most, _STEP))
    for start in range(0, most, step):
        for near_head, span in ((True, (-start - step, -start - 1)), (False, (start, start + step - 1))):
            passed, *hit = ClientCommands(client).run_again(LOCATE, 0, whole, task_id, *span)
            if hit:
                index, size, raw = hit
                first = size - start - passed if near_head else start
                # Workers take from the right.
                return Located(whole, raw, *_line(key), size - first - index, near_head)
            if passed < step:
                return None
    return None


def _look_through_parked(client: Any, task_id: str, first: int, most: int, keys: Keys) -> Located | None:
    step = min(most, _STEP)
    for start in range(first, first + most, step):
        span = start, start + step - 1
        passed, *hit = ClientCommands(client).run_again(LOCATE, 0, keys.parked, task_id, *span)
        if hit:
            raw = hit[2]
            line = _line(json.loads(raw)["key"])
            return Located(keys.parked, raw, *line, due=client.zscore(keys.parked, raw))
        if passed < step:
            return None
    return None


def _locate_parked(client: Any, task_id: str, due: float, keys: Keys) -> Located | None:
    before = client.zcount(keys.parked, "-inf", f"({due!r}")
    return _look_through_parked(client, task_id, before, _STEP, keys)


def remove(client: Any, task_id: str, found: Located, keys: Keys = Keys()) -> bool:  # noqa: B008
    """Takes a message away. False: it is not there any more."""
    where = "parked" if found.position is None else -1 if found.near_head else 1
    call = TAKE_OUT, 0, found.key, found.raw, where, keys.pending, task_id
    return bool(ClientCommands(client).run_again(*call))


def holders(client: Any, task_id: str, nodes: Collection[str], keys: Keys = Keys()) -> list[str]:  # noqa: B008
    """Those of the nodes that have taken the message of a task; one on the stock transport has no name."""
    named = list(nodes)
    hashes = [keys.unacked(node) if node else keys.unacked("").rstrip(":") for node in named]
    found = ClientCommands(client).run_again(HELD, 0, task_id, _PAGES, *hashes) if named else []
    return [named[number] for number in found]


def take_out(client: Any, task_id: str, keys: Keys = Keys()) -> bool:  # noqa: B008
    """Takes the message of a pending task away, at once. False: a mark must do it, when a worker takes the message."""
    found = locate(client, task_id, keys)
    return found is not None and remove(client, task_id, found, keys)


def tidy(commands: Commands, keys: Keys, cursor: int) -> int:
    """Forgets, of a part of the notes, those whose messages are gone. Returns where to go on."""
    lists = keys.pending, keys.parked
    found = commands.run_again(TIDY, 2, *lists, cursor, _PAGE, KEPT, keys.prefix)
    return int(found[0])
