"""The fleet's figures in the text format of Prometheus: the same from every process of the console."""

from typing import TYPE_CHECKING

from celery_fleet.survey.reading import look_at_queues
from celery_fleet.survey.taskmetrics import as_text, of_fleet

from .remembering import remembered
from .workers import look

if TYPE_CHECKING:
    from .fleet import Fleet

_SHARED = 1.0


def metrics(fleet: "Fleet") -> str:
    """All of them, not older than a second. Raises redis.RedisError."""
    return remembered(fleet, "metrics", _SHARED, lambda: _read(fleet))


def _read(fleet: "Fleet") -> str:
    return as_text(
        of_fleet(
            fleet.figures,
            fleet.topology.task_types,
            look_at_queues(fleet),
            letters=fleet.letters.count(),
            alive=len(look(fleet).alive),
            retrying=fleet.index.count(state="RETRY"),
        )
    )
