"""A Celery app as anybody writes them, for the console to work with."""

import os
import time
from pathlib import Path

from celery import Celery

app = Celery(
    "consoleapp", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.task_routes = {"consoleapp.forgetful": {"queue": "email"}}


def record(text):
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{text}\n")


@app.task
def process(data):
    """Takes anything."""
    record(f"process {data}")
    return {"processed": data}


@app.task
def calculate(data: int):
    return data * data


@app.task
def add(x: int, y: int = 1):
    """Adds two numbers.

    More of it.
    """
    return x + y


@app.task
def total(values):
    record(f"total {values}")
    return sum(values)


@app.task(name="other.process")
def other_process():
    record("other")


@app.task
def nap(seconds: float):
    record(f"nap {os.getpid()}")
    time.sleep(seconds)
    record("woke")


@app.task
def fail(text):
    raise ValueError(text)


@app.task
def unsteady():
    record("tried")
    raise ConnectionError("Connection timeout")


@app.task
def forgetful():
    return None
