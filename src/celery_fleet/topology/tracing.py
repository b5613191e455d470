"""Where a fleet sends its traces, as its variables say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import filled
from .variables import TRACING, VARIABLES, read_variables


@dataclass(frozen=True)
class Traces:
    """Where traces go (OTLP over HTTP), and which part of new ones is kept."""

    endpoint: str
    sample_ratio: float


def traces(variables: Mapping[str, Any], own_backend: str | None) -> Traces | None:
    """None: the fleet does not trace. `own_backend`: the address of the one that the fleet runs itself.

    The variables are sound.
    """
    settings = filled(VARIABLES, read_variables(variables)[0])["celery_tracing"]
    if settings is None:
        return None
    settings = filled(TRACING, settings)
    endpoint = settings["endpoint"] or own_backend
    return Traces(endpoint, settings["sample_ratio"]) if endpoint else None
