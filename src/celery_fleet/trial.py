"""`python -m celery_fleet.trial TASK --queue QUEUE ...`: does a deployment work? One task for each queue tells.

The task is sent without arguments, ahead of what waits. Ends with 0 when it succeeded everywhere in time, with 1 and
a line for each queue where it did not, with 2 when the app has no such task.
"""

import argparse
import os
import sys
import time
from collections.abc import Collection, Mapping

from celery import Celery
from celery.result import AsyncResult

from .policy.variables import priority_scale

_POLL = 0.1
"""Seconds between looks at the results."""


def try_queues(app: Celery, task: str, queues: Collection[str], timeout: float) -> dict[str, str]:
    """What went wrong, by queue; empty when the task succeeded in all of them within `timeout` seconds."""
    first = priority_scale(os.environ).from_message(0)
    sent = {
        queue: app.send_task(task, queue=queue, priority=first, expires=timeout, ignore_result=False)
        for queue in queues
    }
    deadline = time.monotonic() + timeout
    while not all(result.ready() for result in sent.values()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    faults = {queue: _fault(result, timeout) for queue, result in sent.items()}
    for queue, result in sent.items():
        if faults[queue] and not result.ready():
            result.revoke()  # nobody waits for it any more
    return {queue: fault for queue, fault in faults.items() if fault}


def _fault(result: AsyncResult, timeout: float) -> str:
    state = str(result.state)
    if state == "SUCCESS":
        return ""
    if result.ready():
        return f"{state}: {result.result!r}"
    if state == "PENDING":
        return f"nobody took it within {timeout:g} s"
    return f"it is {state} after {timeout:g} s: {result.result!r}"


def report(task: str, faults: Mapping[str, str], queues: Collection[str]) -> str:
    """What became of the task, a line for each queue that has a fault."""
    if not faults:
        return f"{task} succeeded in {', '.join(queues)}"
    return "\n".join(f"{task} in the queue {queue}: {fault}" for queue, fault in faults.items())


def main() -> int:
    """Sends the tasks and tells what became of them."""
    parser = argparse.ArgumentParser(prog="python -m celery_fleet.trial", description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--queue", action="append", required=True)
    parser.add_argument("--timeout", type=float, default=60)
    options = parser.parse_args()

    from .app import app  # noqa: PLC0415 - it ends the process when its environment is not that of the fleet

    app.loader.import_default_modules()
    if options.task not in app.tasks:
        sys.stderr.write(f"the app has no task {options.task}\n")
        return 2
    queues = list(dict.fromkeys(options.queue))
    faults = try_queues(app, options.task, queues, options.timeout)
    (sys.stderr if faults else sys.stdout).write(f"{report(options.task, faults, queues)}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
