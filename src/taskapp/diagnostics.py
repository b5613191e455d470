"""Tasks that prove a deployment: where work runs, under which limits, and what happens when it goes wrong."""

import os
import signal
import socket
import time
from typing import Annotated, Any, Literal

from billiard.process import current_process
from pydantic import Field, JsonValue

from taskapp.errors import FatalError, TransientError
from taskapp.operation import operation


@operation("taskapp.diagnostics.echo")
def echo(self: Any, value: JsonValue = None) -> dict[str, Any]:
    """The value, and who answers: host, worker, queue, process, pool, release."""
    return {"value": value, **identity(self)}


def identity(task: Any) -> dict[str, Any]:
    """Where a task runs. Pool and release are what the environment names so, else null."""
    return {
        "host": socket.gethostname(),
        "worker": task.request.hostname,
        "queue": (task.request.delivery_info or {}).get("routing_key"),
        "pid": os.getpid(),
        "pool": os.environ.get("CELERY_FLEET_POOL"),
        "release": os.environ.get("CELERY_FLEET_RELEASE"),
    }


@operation("taskapp.diagnostics.sleep")
def sleep(self: Any, seconds: Annotated[float, Field(ge=0, le=86_400)]) -> dict[str, Any]:
    """Wait, doing nothing."""
    started = time.monotonic()
    time.sleep(seconds)
    return {"seconds": round(time.monotonic() - started, 3), **identity(self)}


@operation("taskapp.diagnostics.allocate")
def allocate(
    self: Any,
    megabytes: Annotated[int, Field(ge=0, le=262_144)],
    seconds: Annotated[float, Field(ge=0, le=3600)] = 0,
) -> dict[str, Any]:
    """Fill `megabytes` MiB of memory and hold them for `seconds`; tells the resident size reached, in MiB."""
    # Written, not only reserved: untouched pages cost no memory.
    blocks = [bytearray(b"\x01") * 2**20 for _ in range(megabytes)]
    reached = resident_megabytes()
    time.sleep(seconds)
    return {"megabytes": len(blocks), "resident_megabytes": reached, **identity(self)}


def resident_megabytes() -> int:
    """The resident set of this process in MiB."""
    with open("/proc/self/statm") as file:  # noqa: PTH123  # a kernel interface, not a file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


@operation("taskapp.diagnostics.fail")
def fail(
    _self: Any,
    how: Literal["exception", "transient", "fatal", "killed"] = "exception",
    message: str = "on purpose",
) -> None:
    """Fail by an exception, a transient error (retried), a fatal error (returned) or a lost process."""
    if how == "transient":
        raise TransientError(message)
    if how == "fatal":
        raise FatalError(message)
    if how == "killed":
        if not current_process().name.startswith("ForkPoolWorker"):
            raise FatalError(
                "only a child of a prefork pool may be killed: elsewhere the whole worker would go"
            )
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(message)
