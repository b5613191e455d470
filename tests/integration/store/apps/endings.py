"""An app whose tasks end in every way that there is."""

import os
import signal
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import Ignore, Reject

app = Celery(
    "endings", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.worker_lost_wait = 0.5


def record(text):
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(f"{text}\n")


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


@app.task
def good(*args, **kwargs):
    record(f"good {args} {kwargs}")
    return 1


@app.task
def fail(text):
    record(f"fail {text}")
    raise ValueError(text)


@app.task(bind=True, max_retries=1, default_retry_delay=0)
def exhaust(self):
    raise self.retry(exc=KeyError("k"), countdown=0)


@app.task(time_limit=1, soft_time_limit=None)
def hang():
    time.sleep(60)


@app.task(retry_on_worker_lost=False)
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def refuse():
    raise Reject("no", requeue=False)


@app.task
def unpicklable():
    raise UnpicklableError(1, lambda: 0)


@app.task
def bad_result():
    return object()


@app.task
def two(x, y):
    return x + y


@app.task
def ignore():
    raise Ignore


@app.task(bind=True)
def fail_while(self, path):
    """Fails while the file is there."""
    record(f"ran {self.request.id} {self.request.args}")
    if Path(path).exists():
        raise ValueError("still there")
    return "done"


@app.task(bind=True)
def sleep(self, seconds):
    record(f"started {self.request.id}")
    time.sleep(seconds)
    record(f"ended {self.request.id}")


@app.task(bind=True)
def tell(self, seconds):
    """Tells its process."""
    record(f"started {self.request.id} {os.getpid()}")
    time.sleep(seconds)
    record(f"ended {self.request.id}")


@app.task(bind=True, max_retries=1)
def later(self):
    record(f"tried {self.request.id}")
    raise self.retry(countdown=600)


@app.task(bind=True)
def patient(self, seconds):
    """Looks each tenth of a second whether it was cancelled."""
    from celery_fleet.cancellation import raise_if_cancelled  # noqa: PLC0415

    record(f"started {self.request.id}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        raise_if_cancelled()
        time.sleep(0.1)
    record(f"ended {self.request.id}")
