"""An app whose tasks tell what becomes of them."""

import os
import signal
import time
from pathlib import Path

from celery import Celery

app = Celery(
    "deliveries", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.worker_lost_wait = 1


def record(*words: object) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@app.task
def note(number):
    record("ran", number)


@app.task
def hold(number, gate):
    """Runs until the file `gate` is there."""
    record("began", number)
    for _ in range(600):
        if Path(gate).exists():
            break
        time.sleep(0.1)
    record("ran", number)


@app.task
def kill_worker(number):
    record("began", number)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@app.task(bind=True, max_retries=1)
def again(self, countdown):
    record("tried", self.request.retries)
    if not self.request.retries:
        raise self.retry(countdown=countdown)
