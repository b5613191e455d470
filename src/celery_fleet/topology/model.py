"""What a fleet runs, resolved: nothing is inherited or in human units any more. Frozen, plain data."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class RetryPolicy:
    """How a failed task is tried again. Times in seconds."""

    max_retries: int | None
    """None: for ever."""
    delay: int
    backoff: float
    """Each delay is the one before times this."""
    max_delay: int
    jitter: bool
    exceptions: tuple[str, ...]
    """Builtin names or dotted names of classes."""
    max_age: int | None
    """No retry is begun when the task is older; None: no bound."""
    queue: str | None = None
    """Where a task goes that is tried again; None: back to its own queue."""


@dataclass(frozen=True)
class TaskSettings:
    """How one task is run. Limits in seconds; no soft limit: None."""

    queue: str
    priority: int
    """From 1 (lowest) to 10 (highest)."""
    time_limit: int
    soft_time_limit: int | None
    retry: RetryPolicy
    max_deliveries: int = 4
    """How often a task may take the process that runs it down with it, before it is set aside."""
    sensitive: bool = False
    """Whether nobody is shown the arguments."""


@dataclass(frozen=True)
class QueueSettings:
    """A queue, and how its tasks are run unless their route says otherwise."""

    name: str
    urgency: str
    """urgent, standard or bulk."""
    settings: TaskSettings


@dataclass(frozen=True)
class Route:
    """The tasks whose names match the pattern `task`, and how they are run."""

    task: str
    settings: TaskSettings


@dataclass(frozen=True)
class BeatEntry:
    """A periodic task. `schedule`: seconds or five fields of cron; `queue` None: where its route says."""

    name: str
    task: str
    schedule: int | str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    queue: str | None


@dataclass(frozen=True)
class Topology:
    """The queues of a fleet, which task goes to which, and what Beat starts."""

    app: str
    default_queue: str
    queues: Mapping[str, QueueSettings]
    routes: tuple[Route, ...]
    beat: Mapping[str, BeatEntry]
    delivery: str = "atomic"
    """atomic, or stock: how workers take messages."""
    recovery_timeout: int = 60
    """Seconds of silence after which the work of a worker that does not come back is given to others."""
    dead_letter_limit: int = 10_000
    """How many dead letters are kept, and for how many seconds."""
    dead_letter_age: int = 30 * 86_400
    task_index_limit: int = 100_000
    """How many tasks the index remembers."""
    task_types: Mapping[str, str] = field(default_factory=dict)
    """Short names of tasks, for those who submit them by the console: type -> name of the task."""
    sensitive_arguments: tuple[str, ...] = ()
    """Patterns of names of arguments, and of keys in them, that nobody is shown."""

    def settings_for(self, task_name: str) -> TaskSettings:
        """How a task is run: as the first route that matches its name says, else the default queue."""
        for route in self.routes:
            if fnmatchcase(task_name, route.task):
                return route.settings
        return self.queues[self.default_queue].settings

    def queue_for(self, task_name: str) -> QueueSettings:
        """The queue that a task goes to."""
        return self.queues[self.settings_for(task_name).queue]

    def longest_limit(self, queues: Collection[str]) -> int:
        """The hard limit, in seconds, of the tasks of these queues that may take longest; 0 for no queue."""
        settings = [queue.settings for queue in self.queues.values()] + [
            route.settings for route in self.routes
        ]
        return max((each.time_limit for each in settings if each.queue in queues), default=0)
