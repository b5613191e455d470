"""Which nodes are dead: those that show no sign of life while the broker answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from .lease import LeaseInfo


@dataclass
class _Seen:
    mark: tuple[str, int]
    since: float


class Observer:
    """Watches the leases of others by this process' own clock; no two clocks are compared."""

    def __init__(self, own: str, timeout: float, gap: float) -> None:
        self._own = own
        self._timeout = timeout
        self._gap = gap
        """Seconds between two looks after which everything is seen anew: this process, or the broker, was away."""
        self._seen: dict[str, _Seen] = {}
        self._looked = 0.0

    def forget(self) -> None:
        """The broker did not answer: nobody could show a sign of life."""
        self._seen.clear()

    def look(self, leases: Iterable[LeaseInfo], now: float) -> list[LeaseInfo]:
        """The leases of dead nodes. `now`: seconds of a clock that only goes forward."""
        if now - self._looked > self._gap:
            self.forget()
        self._looked = now
        dead = []
        seen: dict[str, _Seen] = {}
        for lease in leases:
            if lease.node == self._own:
                continue
            mark = lease.token, lease.beat
            before = self._seen.get(lease.node)
            seen[lease.node] = before if before and before.mark == mark else _Seen(mark, now)
            if now - seen[lease.node].since >= self._timeout:
                dead.append(lease)
        self._seen = seen
        return dead
