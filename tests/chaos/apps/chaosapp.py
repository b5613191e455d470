"""The app that runs while chaos reigns. It notes when a run begins and ends, in a file that no fault reaches."""

import os
import signal
import time
from pathlib import Path

from celery import Celery

app = Celery(
    "chaos", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)

STEP = 16 << 20
GREED = 1 << 30


def mark(kind, request, *more):
    """One write to a file opened for appending: whole, and in the kernel's hands, whatever happens to the process."""
    words = (kind, request.id, f"{time.monotonic():.4f}", request.hostname, *more)
    with Path(os.environ["CHAOS_MARKS"]).open("ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\n").encode())


@app.task(bind=True)
def work(self, how, seconds):
    request = self.request
    losses = (request.headers or {}).get("fleet_lost", 0)
    redelivered = int(bool((request.delivery_info or {}).get("redelivered")))
    mark("begin", request, os.getpid(), request.retries, redelivered, losses)
    if how == "spin":
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
    elif how == "fail" and request.retries == 0:
        mark("failed", request)
        raise ConnectionError("the first attempt fails")
    elif how == "hungry" and _first(request.id):
        _eat()
    else:
        time.sleep(seconds)
    mark("end", request)


def _first(name):
    try:
        Path(os.environ["CHAOS_MARKS"]).with_name(f"hungry-{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _eat():
    eaten = []
    while sum(map(len, eaten)) < GREED:
        eaten.append(b"x" * STEP)
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)  # nothing limits the memory here
