"""The app of `make bench-tasks`. Without the fleet it is stock Celery with late acknowledgement and results."""

import os
import time
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

app = Celery(
    "bench", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.task_acks_late = True


@app.task
def nothing(number):
    return number


@app.task
def began():
    """When it began to run, on this machine's steady clock."""
    return time.monotonic()


@worker_ready.connect
def tell_ready(**_):
    if os.environ.get("BENCH_READY"):
        Path(os.environ["BENCH_READY"]).write_text(f"{time.monotonic()}")
