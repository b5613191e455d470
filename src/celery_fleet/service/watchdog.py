"""Whether a worker deserves its watchdog ping: whether it consumes, or has a good reason not to."""

from dataclasses import dataclass

SUSPICIOUS_SILENCE = 10.0
"""Seconds of trouble after which the broker is asked whether it is to blame."""

LONGEST_SILENCE = 30.0
"""Seconds of trouble, while the broker answers, that end a worker: three times what a lost reply takes."""

LATE = 5.0
"""Seconds without an answer of the main loop, or without asking the broker for messages, that are trouble."""


@dataclass(frozen=True)
class Observation:
    """A worker at one moment."""

    ready: bool = True
    """It has held all its queues once; before that, systemd's start timeout counts."""
    stopping: bool = False
    """It finishes what it has; the stop timeout counts."""
    connected: bool = True
    """It has a connection to its broker, as far as it knows."""
    answered: float = 0.0
    """Seconds since its main loop last answered."""
    occupied: bool = False
    """Its main loop has reason to be silent: it runs a task itself."""
    lost: tuple[str, ...] = ()
    """Queues that it should consume and does not. One that an operator cancelled is not among them."""
    paused: bool = False
    """An operator has cancelled all its queues."""
    credit: bool = True
    """It may take another message."""
    asked: float = 0.0
    """Seconds since it last asked the broker for messages; matters only while it has credit."""
    taken: int = 0
    """Tasks that it has begun, ever: while the number grows, it works."""
    holders: int = 0
    """Tasks of its that are really alive: running within their limits, or waiting for their time."""


def trouble(worker: Observation) -> str:
    """What is wrong at this moment, in a few words; empty if nothing is."""
    excused = worker.stopping or not worker.ready or not worker.connected or worker.occupied
    if excused:
        return ""
    if worker.answered > LATE:
        return "main loop stuck"
    if worker.lost:
        return f"does not consume {','.join(worker.lost)}"
    if worker.credit:
        return "does not ask for tasks" if worker.asked > LATE and not worker.paused else ""
    return "" if worker.holders else "no task runs, but none is taken"


class Judge:
    """Judges one worker from round to round. Times are of a monotonic clock, in seconds.

    A restart would not bring back a broker: a worker that waits for one is left alone, however long it takes.
    """

    def __init__(self, patience: float | None = None) -> None:
        self.patience = LONGEST_SILENCE if patience is None else patience
        self.trouble = ""
        self._since = 0.0
        self._taken = 0

    def look(self, worker: Observation, now: float) -> None:
        """Takes note of a worker at a moment."""
        found = trouble(worker)
        if found and (not self.trouble or worker.taken != self._taken):
            self._since = now
        self.trouble, self._taken = found, worker.taken

    def forgive(self) -> None:
        """The broker does not answer: whatever is wrong counts from the next look on."""
        self.trouble = ""

    def troubled_for(self, now: float) -> float:
        return now - self._since if self.trouble else 0.0

    def deserves_ping(self, now: float) -> bool:
        """False only when it has long been in trouble that its broker does not explain."""
        return self.troubled_for(now) <= self.patience
