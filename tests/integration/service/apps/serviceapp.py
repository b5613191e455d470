"""A Celery app whose tasks write down when they begin and end."""

import os
import time
from pathlib import Path

from celery import Celery

app = Celery(
    "service", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)


def record(text):
    with Path(os.environ["SERVICE_RECORD"]).open("a") as file:
        file.write(f"{text}\n")


@app.task
def work(tag, seconds):
    record(f"begin {tag}")
    time.sleep(seconds)
    record(f"end {tag}")


@app.task(ignore_result=True)
def silent(tag, seconds):
    work.run(tag, seconds)


@app.task
def spin(tag, seconds):
    """Works without giving way: under gevent, nothing else of its process runs meanwhile."""
    record(f"begin {tag}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    record(f"end {tag}")


@app.task
def pid():
    return os.getpid()


@app.task
def killed(tag, seconds):
    """To be killed from outside, as the kernel does when memory runs out."""
    record(f"pid {tag}={os.getpid()}")
    work.run(tag, seconds)


@app.task
def grow(mebibytes):
    return len(bytearray(mebibytes * 2**20))
