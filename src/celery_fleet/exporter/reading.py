"""One look at the fleet, in a few round trips: queues, who is there, what is held, dead letters, Beat, counts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from celery_fleet.delivery.commands import ClientCommands
from celery_fleet.delivery.keys import Keys
from celery_fleet.delivery.parking import count_parked
from celery_fleet.delivery.pausing import QUEUE, Pause, pauses
from celery_fleet.delivery.scripts import Script
from celery_fleet.install import bare_app
from celery_fleet.policy.hasty import hasty
from celery_fleet.policy.priority import STEPS, fleet_priority
from celery_fleet.policy.variables import with_variables
from celery_fleet.store.connection import broker_client, key_prefix, state_client
from celery_fleet.store.deadletters import DeadLetters
from celery_fleet.store.deploys import Deploy, Deploys
from celery_fleet.store.figures import Cell, Figures, Spans
from celery_fleet.store.headers import SINCE, as_moment
from celery_fleet.store.index import TaskIndex
from celery_fleet.store.presence import FRESH as WORD_FRESH
from celery_fleet.store.presence import Presence, Presences
from celery_fleet.store.schedules import BeatState, Schedules
from celery_fleet.survey.backlog import Backlog, holders
from celery_fleet.survey.reading import is_forgotten, read_gone, read_leases
from celery_fleet.survey.roster import FRESH, Lease
from celery_fleet.survey.taskmetrics import Metric, of_fleet
from celery_fleet.topology.load import load_topology
from celery_fleet.topology.model import Topology

from .held import HeldByQueue, index_key
from .settings import Settings
from .steps import Steps

_PARKED_PERIOD = 10.0
"""Seconds between counts of what is due later, for which all of it is looked through."""
_PARKED_SHARE = 20
"""And no more often than so many times what a count took."""

_PATIENCE = 2.0
"""Seconds after which a reading asks Redis nothing more: who scrapes waits no longer."""


class Fleet:
    """The fleet as the exporter reaches it; satisfies `survey.reach.Reach`."""

    app: Celery
    topology: Topology
    topology_path: Path
    broker: "redis.Redis"
    state: "redis.Redis"

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet. Raises ValueError, InvalidTopology, InstallError."""
        environment = settings.environment
        if environment.topology is None:
            raise ValueError("CELERY_FLEET_TOPOLOGY names no topology file")
        if not environment.broker_url:
            raise ValueError("CELERY_BROKER_URL names no broker")
        self.topology_path = environment.topology
        self.topology = with_variables(load_topology(self.topology_path), settings.variables)
        self.app = hasty(bare_app(environment, self.topology))
        self.broker, self.state = broker_client(self.app), state_client(self.app)
        self.prefix = key_prefix(self.app)
        self.held = HeldByQueue()
        self._parked: Mapping[str, int] = {}
        self._parked_until = float("-inf")

    def parked(self) -> Mapping[str, int]:
        """How many messages are due later, by queue; up to ten seconds old, and older where there are very many."""
        began = time.monotonic()
        if began > self._parked_until:
            self._parked = count_parked(self.broker, Keys(self.prefix))
            ended = time.monotonic()
            self._parked_until = ended + max(_PARKED_PERIOD, _PARKED_SHARE * (ended - began))
        return self._parked

    def close(self) -> None:
        self.broker.close()
        self.state.close()
        self.app.close()


@dataclass(frozen=True)
class Held:
    """What one worker has claimed and not acknowledged. `oldest`: seconds since the epoch; None: nothing."""

    count: int
    oldest: float | None = None


@dataclass(frozen=True)
class Reading:
    """The fleet at one moment, `at`: seconds since the epoch."""

    at: float
    backlogs: Sequence[Backlog] = ()
    ages: Mapping[str, float | None] = field(default_factory=dict)
    """Queue -> seconds since the oldest of its next messages was due; 0: it is empty, None: it does not say."""
    leases: Sequence[Lease] = ()
    presences: Sequence[Presence] = ()
    gone: Mapping[str, float] = field(default_factory=dict)
    forgotten: frozenset[str] = frozenset()
    """Workers that are not to come back."""
    pauses: Sequence[Pause] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    """Node -> what it holds; the empty node: all workers of stock delivery."""
    letters: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Dead letters by queue and reason."""
    beat: BeatState | None = None
    deploys: Sequence[Deploy] = ()
    cells: Sequence[Cell] = ()
    spans: Sequence[Spans] = ()
    tasks: Sequence[Metric] = ()
    """The ten metrics of tasks."""

    def alive(self, leased: bool) -> frozenset[str]:
        """The nodes that have given a sign of life of late. `leased`: workers of this fleet have leases."""
        if leased:
            return frozenset(lease.node for lease in self.leases if lease.age <= FRESH)
        return frozenset(each.node for each in self.presences if self.at - each.at <= WORD_FRESH)

    def paused(self) -> frozenset[str]:
        return frozenset(pause.name for pause in self.pauses if pause.kind == QUEUE)


def read(fleet: Fleet) -> Reading:
    """Raises redis.RedisError, also when Redis is slow."""
    parked = fleet.parked()
    now, step = time.time(), Steps(_PATIENCE)
    keys, queues = Keys(fleet.prefix), list(fleet.topology.queues)
    hashes = step(lambda: holders(fleet.broker, keys))
    held = fleet.held.count(fleet.broker, hashes, keys, step)
    backlogs, ages = step(lambda: read_queues(fleet.broker, queues, keys, parked, held, now))
    gone = step(lambda: read_gone(fleet))
    found = Reading(
        at=now,
        backlogs=backlogs,
        ages=ages,
        leases=step(lambda: read_leases(fleet)),
        presences=step(Presences(fleet.state, fleet.prefix).all),
        gone=gone,
        forgotten=frozenset(
            node for node, age in gone.items() if step(partial(is_forgotten, fleet, node, age))
        ),
        pauses=step(lambda: pauses(fleet.broker, keys)),
        held=step(lambda: read_held(fleet.broker, hashes, keys)),
        beat=step(Schedules(fleet.state, fleet.prefix).read),
        deploys=step(Deploys(fleet.state, fleet.prefix).list),
    )
    return _with_figures(fleet, found, step)


def _with_figures(fleet: Fleet, found: Reading, step: Steps) -> Reading:
    topology, figures = fleet.topology, Figures(fleet.state, fleet.prefix)
    letters = DeadLetters(fleet.state, topology.dead_letter_limit, topology.dead_letter_age, fleet.prefix)
    index = TaskIndex(fleet.state, topology.task_index_limit, topology.dead_letter_age, fleet.prefix)
    count, retrying = step(letters.count), step(lambda: index.count(state="RETRY"))
    tasks = step(
        lambda: of_fleet(
            figures,
            topology.task_types,
            found.backlogs,
            letters=count,
            alive=len(found.alive(topology.delivery == "atomic")),
            retrying=retrying,
        )
    )
    return replace(
        found,
        letters=step(letters.by_queue_and_reason),
        cells=step(figures.cells),
        spans=step(figures.spans),
        tasks=tasks,
    )


def read_queues(  # noqa: PLR0917
    client: "redis.Redis",
    queues: Sequence[str],
    keys: Keys,
    parked: Mapping[str, int],
    held: Mapping[str, int],
    now: float,
) -> tuple[list[Backlog], dict[str, float | None]]:
    """What waits, and for how long; of the messages only their stamps leave Redis."""
    lists = [keys.queue(queue, step) for queue in queues for step in STEPS]
    rows: list[Any] = ClientCommands(client).run_again(_HEADS, 0, SINCE, *lists)
    backlogs, ages = [], {}
    for number, queue in enumerate(queues):
        own = list(zip(STEPS, rows[number * len(STEPS) : (number + 1) * len(STEPS)], strict=True))
        sizes = {fleet_priority(step): int(row[0]) for step, row in own if row[0]}
        due = [moment for _, row in own if row[0] and (moment := _due(row[1], row[2])) is not None]
        backlogs.append(
            Backlog(queue, sizes, parked.get(queue, 0), held.get(queue, 0), min(due, default=None))
        )
        ages[queue] = 0.0 if not sizes else max(0.0, now - min(due)) if due else None
    return backlogs, ages


def _due(since: bytes, eta: bytes) -> float | None:
    """When a message was due: one that is tried again carries on when its task was first due, and is due at its ETA."""
    try:
        first = as_moment(float(since))
    except ValueError:
        return None
    if first is None:
        return None
    try:
        return max(first, datetime.fromisoformat(eta.decode()).timestamp())
    except ValueError:  # it is due at once
        return first


def read_held(client: "redis.Redis", hashes: Mapping[str, str], keys: Keys) -> dict[str, Held]:
    """Node -> what it holds; `hashes`: as `holders` gives them."""
    pipe = client.pipeline(transaction=False)
    for node, key in hashes.items():
        pipe.hlen(key)
        pipe.zrange(index_key(keys, node), 0, 0, withscores=True)
    answers = pipe.execute()
    return {
        node: Held(int(count), float(first[0][1]) if first else None)
        for node, count, first in zip(hashes, answers[::2], answers[1::2], strict=True)
    }


# Of each list: its length, and the stamps of the message that is next in it. No KEYS: those that may only read are
# refused scripts that announce keys. The headers follow the body, so of a long message its end is looked at. What looks
# like a header in the text of arguments is none: there the quotation mark before the colon is escaped.
_HEADS = Script(
    """
local function header(raw, name, value)
  local _, last = string.find(raw, '"' .. name .. '":', 1, true)
  return last and string.match(raw, '^%s*' .. value, last + 1) or ''
end
local since, rows = ARGV[1], {}
for i = 2, #ARGV do
  local size = redis.call('LLEN', ARGV[i])
  local first, eta = '', ''
  if size > 0 then
    local raw = string.sub(redis.call('LINDEX', ARGV[i], -1) or '', -65536)
    first, eta = header(raw, since, '([%d.]+)'), header(raw, 'eta', '"([^"]*)"')
  end
  rows[#rows + 1] = {size, first, eta}
end
return rows
"""
)
