"""OpenTelemetry is in a release for which traces were on; one from before runs on without."""

import logging
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)


def enabling() -> Any:
    """The module `tracing.enable`; None, and a line in the log, in a release without OpenTelemetry."""
    try:
        return import_module(".enable", __package__)
    except ModuleNotFoundError as error:
        log.warning("There will be no traces, this release is without OpenTelemetry: %s", error)
        return None
