"""Whether a worker deserves its watchdog ping."""

from dataclasses import dataclass

SUSPICIOUS_SILENCE = 10.0
"""Seconds without an answer of the main loop after which the broker is asked whether it is to blame."""

LONGEST_SILENCE = 30.0
"""Seconds that the main loop may be silent while the broker answers: three times what a lost reply takes."""


@dataclass(frozen=True)
class Observation:
    """A worker at one moment."""

    ready: bool
    """It has held all its queues once; before that, systemd's start timeout counts."""
    stopping: bool
    """It finishes what it has; systemd's stop timeout counts."""
    connected: bool
    """It has a connection to a broker that answers, as far as it knows."""
    silence: float
    """Seconds since its main loop last answered, or since the broker last did not."""
    solo_task: bool = False
    """Its main loop runs a task itself."""


def deserves_ping(worker: Observation) -> bool:
    """False only when nothing but a main loop that is stuck explains the silence.

    A restart would not bring back a broker: a worker that waits for one is left alone, however long it takes.
    """
    excused = worker.stopping or not worker.ready or not worker.connected or worker.solo_task
    return excused or worker.silence <= LONGEST_SILENCE
