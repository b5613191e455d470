"""A Celery app as anybody writes them. It knows nothing of what runs it."""

import logging
import os
import signal
import subprocess
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

app = Celery(
    "plain", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.worker_lost_wait = 1

log = logging.getLogger("plain")


def record(text: str) -> None:
    with Path(os.environ["PLAIN_RECORD"]).open("a") as file:
        file.write(f"{text}\n")


@app.task
def add(x, y):
    log.info("adding two numbers")
    return x + y


@app.task(name="mail.note")
def note(text):
    record(text)


@app.task
def low(text):
    record(text)


@app.task
def high(text):
    record(text)


@app.task
def parent(text):
    low.delay(text)


@app.task
def fail(secret):
    raise ValueError("bad input")


@app.task
def unsteady():
    record(f"{time.time()}")
    raise ConnectionError("Connection timeout")


@app.task
def overrun():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        record("soft")
        time.sleep(30)


@app.task
def die():
    record("run")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=False)
def nap(seconds):
    log.info("napping")
    time.sleep(seconds)
    return seconds


@app.task
def environment():
    return subprocess.run(["env"], capture_output=True, text=True, check=True).stdout


@app.task
def total(numbers):
    return sum(numbers)
