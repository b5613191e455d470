"""Automated gather creation: CPU and memory bound, cancellable, with one output per set of parameters."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from pydantic import Field

from taskapp.errors import FatalError
from taskapp.files import exclusive_output
from taskapp.operation import Checkpoint, Operation, operation
from taskapp.seismogram import Stack, Survey, npy_header
from taskapp.settings import current

logger = get_task_logger(__name__)

LARGEST_GATHER = 2**31
"""The largest output, in bytes."""


class GatherTask(Operation):
    """Retries after about 60, 120 and 240 seconds, whatever went wrong."""

    abstract = True
    autoretry_for = (Exception,)
    retry_backoff = 60
    retry_backoff_max = 600


@operation("automated_gather_creation", base=GatherTask)
def automated_gather_creation(
    self: Any,
    events: Annotated[int, Field(ge=1, le=100_000)] = 4,
    stations: Annotated[int, Field(ge=1, le=10_000)] = 24,
    samples: Annotated[int, Field(ge=16, le=100_000)] = 500,
    *,
    interval_ms: Annotated[float, Field(gt=0, le=100)] = 4.0,
    noise: Annotated[float, Field(ge=0, le=10)] = 0.2,
    seed: int = 0,
    memory_mb: Annotated[int, Field(ge=0, le=262_144)] = 0,
) -> dict[str, Any]:
    """Synthesise a gather (events x stations x samples) into a `.npy` file and stack each event.

    The time it takes grows with events x stations x samples, about 1 s for 10^6. `memory_mb` MiB of working
    memory are held meanwhile. The file's name follows from the parameters: what exists is not computed again.
    """
    survey = Survey(events, stations, samples, interval_ms, noise, seed)
    if events * stations * samples * 4 > LARGEST_GATHER:
        raise FatalError(f"events x stations x samples x 4 bytes is more than {LARGEST_GATHER} bytes")
    path = output_path(current().state_dir, survey)
    if path.exists():
        return {"path": str(path), "bytes": path.stat().st_size, "computed": False}
    try:
        working_memory = bytearray(b"\x01") * (memory_mb * 2**20)
        peaks = create(path, survey, Checkpoint(self))
        del working_memory
    except SoftTimeLimitExceeded:
        logger.warning("Soft time limit: partial output of %s removed", path.name)
        raise
    return {"path": str(path), "bytes": path.stat().st_size, "computed": True, "peaks": peaks[:10]}


def output_path(state_dir: Path, survey: Survey) -> Path:
    """The one file for this survey."""
    digest = hashlib.sha256(json.dumps(asdict(survey), sort_keys=True).encode()).hexdigest()
    return state_dir / "gathers" / f"gather-{digest[:16]}.npy"


def create(path: Path, survey: Survey, checkpoint: Callable[[int, int], None]) -> list[dict[str, float]]:
    """Compute and write the gather, trace by trace, with a call of `checkpoint(done, total)` before each.

    Returns time in seconds and amplitude of each event's stacked peak.
    """
    total = survey.events * survey.stations
    peaks = []
    with exclusive_output(path) as output:
        output.write(npy_header((survey.events, survey.stations, survey.samples)))
        for event in range(survey.events):
            stack = Stack(survey, event)
            for station, trace in enumerate(survey.traces(event)):
                checkpoint(event * survey.stations + station, total)
                stack.add(trace, station)
                if sys.byteorder == "big":
                    trace.byteswap()
                output.write(trace)
            time, amplitude = stack.peak()
            peaks.append({"time": round(time, 6), "amplitude": round(amplitude, 6)})
    return peaks
