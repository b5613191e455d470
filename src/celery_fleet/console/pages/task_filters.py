"""What the page of tasks is asked for: read from its query string, and written back into links.

Everything is in the query string, so that each view can be bookmarked and sent to somebody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from celery_fleet.console.models.tasks import STATES
from celery_fleet.console.pages.rendering import link

PATH = "/ui/tasks"

RANGES = {"15m": 15 * 60, "1h": 3600, "24h": 86400, "7d": 7 * 86400}
"""The quick ranges: how far back, in seconds."""

_LENGTH = 500
_FORMATS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
"""As browsers send the fields for a date and a time."""


@dataclass(frozen=True)
class Chip:
    """A filter that is set, and the page without it."""

    label: str
    value: str
    without: str


@dataclass(frozen=True)
class TaskFilters:
    """Empty: not asked for. `since` and `until` are UTC, to the minute or second, without a zone."""

    state: str = ""
    """One of STATES."""
    name: str = ""
    queue: str = ""
    worker: str = ""
    text: str = ""
    range: str = ""
    """One of RANGES; it goes before `since` and `until`."""
    since: str = ""
    until: str = ""
    cursor: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "TaskFilters":
        """What is no state, no range or no time is left out."""
        said = {name: query.get(name, "").strip()[:_LENGTH] for name in cls.__dataclass_fields__}
        quick = said["range"] if said["range"] in RANGES else ""
        times = {
            name: "" if quick or _moment(said[name]) is None else said[name] for name in ("since", "until")
        }
        return cls(**{**said, **times, "state": _state(said["state"]), "range": quick})

    def window(self, now: float) -> tuple[float | None, float | None]:
        """The first and the last moment, in seconds since the epoch; None: open."""
        if self.range:
            return now - RANGES[self.range], None
        return _moment(self.since), _moment(self.until)

    def url(self, **changes: str) -> str:
        """The page with some filters changed, from its beginning."""
        changed = replace(self, **{"cursor": "", **changes})
        return link(PATH, {name: getattr(changed, name) for name in self.__dataclass_fields__})

    def of_range(self, range_: str) -> str:
        return self.url(range=range_, since="", until="")

    @property
    def narrowed(self) -> bool:
        """Whether anything but the state is asked for."""
        return bool(self.chips())

    def chips(self) -> list[Chip]:
        """The filters that are set. The state is shown by the tabs."""
        shown = [(name, getattr(self, name)) for name in ("text", "name", "queue", "worker")]
        shown += [("last", self.range), ("from", self.since), ("to", self.until)]
        field = {"last": "range", "from": "since", "to": "until"}
        return [
            Chip(
                label,
                value.replace("T", " ") + " UTC" if label in ("from", "to") else value,
                self.url(**{field.get(label, label): ""}),
            )
            for label, value in shown
            if value
        ]


def _state(text: str) -> str:
    """
    >>> _state("Failed"), _state("failure"), _state("SUCCESS"), _state("odd")
    ('failed', 'failed', 'completed', '')
    """
    of_status = {status: state for state, status in STATES.items()}
    return text.lower() if text.lower() in STATES else of_status.get(text.upper(), "")


def _moment(text: str) -> float | None:
    """
    >>> _moment("2026-11-22T13:05"), _moment("yesterday")
    (1795352700.0, None)
    """
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None
