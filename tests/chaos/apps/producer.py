"""A client that publishes a plan of tasks in time, however often the broker goes away.

Usage: producer.py PLAN LEDGER. PLAN: JSON, a list of [seconds from now, queue, how, seconds, countdown, priority], in order;
priorities from 1 (lowest) to 10. LEDGER: gets a line `try ID QUEUE MOMENT` before each attempt to publish a task and
`yes ID QUEUE MOMENT` when it is confirmed. An attempt that fails is repeated with the same id until it is confirmed.
TERM: the task in hand is the last one.
"""

import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

FLEET = "CELERY_FLEET_APP" in os.environ
if FLEET:
    import celery_fleet.app  # noqa: F401 - it puts the fleet under the app below
import chaosapp  # noqa: E402

PAUSE = 0.2
LATE = 30
"""Seconds after which what an outage kept back is not made up for: the rest of the plan is put off."""
stopping = []


def publish(ledger, queue, how, seconds, countdown, priority):
    task_id = str(uuid.uuid4())
    if priority is not None and not FLEET:
        priority = 10 - priority  # what Celery on Redis calls it
    options = {"queue": queue, "countdown": countdown, "priority": priority}
    confirmed = False
    while not confirmed:
        ledger.write(f"try {task_id} {queue} {time.monotonic():.4f}\n".encode())
        try:
            chaosapp.work.apply_async((how, seconds), task_id=task_id, retry=False, **options)
            confirmed = True
        except (TypeError, ValueError):
            raise
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE)
    ledger.write(f"yes {task_id} {queue} {time.monotonic():.4f}\n".encode())


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    plan, began = json.loads(Path(sys.argv[1]).read_text()), time.monotonic()
    with Path(sys.argv[2]).open("ab", buffering=0) as ledger:
        for at, *task in plan:
            while not stopping and (wait := began + at - time.monotonic()) > 0:
                time.sleep(min(wait, 0.2))
            if stopping:
                return
            late = time.monotonic() - began - at
            if late > LATE:
                began += late
            publish(ledger, *task)


main()
