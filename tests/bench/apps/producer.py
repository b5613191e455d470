"""One client. Reads what to publish from its input, a line each, and answers with a line of JSON.

`burst N`: publishes N tasks, answers the seconds of wall clock and of CPU. `probe`: publishes one task that tells when
it began, answers its id and the moment before it was published.
"""

import json
import os
import sys
import time

if os.environ.get("CELERY_FLEET_APP"):
    import celery_fleet.app  # noqa: F401 - it puts the fleet under the app below
import benchapp


def burst(count: int) -> dict[str, float]:
    before, cpu = time.monotonic(), time.process_time()
    for number in range(count):
        benchapp.nothing.delay(number)
    return {"seconds": time.monotonic() - before, "cpu": time.process_time() - cpu}


def probe() -> dict[str, object]:
    before = time.monotonic()
    return {"at": before, "id": benchapp.began.delay().id}


print("{}", flush=True)
for line in sys.stdin:
    command, *arguments = line.split()
    answer = burst(int(arguments[0])) if command == "burst" else probe()
    print(json.dumps(answer), flush=True)
