"""An app that knows nothing of traces. Its tasks call a server and each other, and fail as they are told."""

import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import requests
from celery import Celery

app = Celery(
    "tracedapp", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
SITE = os.environ.get("SITE", "")


def times(what):
    """How often it was called."""
    with Path(os.environ["RECORD"]).open("a+") as file:
        file.write(f"{what}\n")
        file.seek(0)
        return file.read().splitlines().count(what)


@app.task
def order(number):
    requests.get(f"{SITE}/requests", timeout=5)
    deliver.delay(number)


@app.task
def deliver(number):
    attempt = times("deliver")
    if attempt == 1:
        raise ConnectionError("the first time")
    if attempt == 2:
        raise ValueError("the second time")
    httpx.get(f"{SITE}/httpx", timeout=5)
    urllib.request.urlopen(f"{SITE}/urllib", timeout=5).close()


@app.task
def note(number):
    return number


@app.task
def die():
    note.delay(1)
    if times("die") == 1:
        time.sleep(float(os.environ.get("DIE_AFTER", "0")))
        os.kill(os.getpid(), signal.SIGKILL)


@app.task
def hang():
    if times("hang") == 1:
        time.sleep(60)


@app.task
def modules():
    return [name for name in sys.modules if name.startswith(("opentelemetry", "celery_fleet.tracing."))]
