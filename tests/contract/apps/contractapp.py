"""The app of the contract's workers: plain Celery, whose tasks record what happens to them.

CONTRACT_DIRECTORY: where `record` and the gates are; CONTRACT_SETTINGS: Celery's settings as JSON;
CONTRACT_REVOKED: an id that is revoked from the start; CONTRACT_DIE_ON_APPEND: the main process kills itself
where kombu would record a message that it has popped.
"""

import json
import os
import resource
import signal
import time
from pathlib import Path

from celery import Celery, Task, signals
from celery.exceptions import Reject
from celery.worker import state
from kombu.transport.redis import QoS

DIRECTORY = Path(os.environ["CONTRACT_DIRECTORY"])
FOREVER = 120

app = Celery("contractapp")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
)
app.conf.update(json.loads(os.environ["CONTRACT_SETTINGS"]))


def record(event, task_id="", label="", **more):
    line = json.dumps({"event": event, "id": task_id, "label": label, "pid": os.getpid(), **more})
    with (DIRECTORY / "record").open("a") as file:
        file.write(line + "\n")


@app.task(bind=True)
def quick(self, label):
    record("start", self.request.id, label)
    record("end", self.request.id, label)


@app.task(bind=True)
def hold(self, label, seconds=FOREVER):
    """Runs until it is released."""
    record("start", self.request.id, label)
    end = time.monotonic() + seconds
    gate = DIRECTORY / f"gate-{label}"
    while not gate.exists() and time.monotonic() < end:
        time.sleep(0.03)
    record("end", self.request.id, label)


@app.task(bind=True, acks_late=False)
def hold_early(self, label):
    hold.run.__func__(self, label)


@app.task(bind=True, soft_time_limit=1, time_limit=2)
def hold_limited(self, label):
    hold.run.__func__(self, label)


@app.task(bind=True)
def allocate(self, megabytes):
    """Uses memory and gives it back. Returns pid, resident and peak memory in KiB."""
    block = bytearray(megabytes << 20)
    block[::4096] = b"x" * len(block[::4096])
    del block
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        os.getpid(),
        pages * resource.getpagesize() // 1024,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


class Telling(Task):
    """Records which hooks are called, and where."""

    def on_failure(self, exc, task_id, *_):
        record("on_failure", task_id, type(exc).__name__)


def end_by(task, how):
    record("start", task.request.id, how)
    if how == "exception":
        raise ValueError(how)
    if how == "retries":
        raise task.retry(exc=ValueError(how), countdown=0)
    if how == "unserialisable":
        return object()
    if how == "reject":
        raise Reject(how, requeue=False)
    if how.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "time limit":
        time.sleep(FOREVER)
    return None


@app.task(bind=True, base=Telling, max_retries=1, default_retry_delay=0)
def end(self, how):
    return end_by(self, how)


@app.task(bind=True, base=Telling, max_retries=1, default_retry_delay=0, time_limit=1)
def end_limited(self, how):
    return end_by(self, how)


@app.task(bind=True, autoretry_for=(Exception,), max_retries=3, default_retry_delay=0, time_limit=1)
def end_autoretried(self, how):
    return end_by(self, how)


@app.task(bind=True, max_retries=2, default_retry_delay=0, retry_on_worker_lost=True)
def poison_retried(self, label):
    return end_by(self, "kill")


@app.task(bind=True, max_retries=1, reject_on_worker_lost=True)
def poison_rejected(self, label, most):
    """Kills its process each time, until it has done so `most` times."""
    record("start", self.request.id, label)
    if (DIRECTORY / "record").read_text().count(f'"start", "id": "{self.request.id}"') <= most:
        os.kill(os.getpid(), signal.SIGKILL)


def recording(name):
    def receiver(sender=None, task_id="", id="", request=None, exception=None, **_):
        record(name, task_id or id or getattr(request, "id", ""), type(exception).__name__)

    return receiver


for each in ("task_failure", "task_unknown", "task_rejected", "worker_process_init", "worker_init"):
    getattr(signals, each).connect(recording(each), weak=False)

if os.environ.get("CONTRACT_DIE_ON_APPEND"):
    QoS.append = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

state.revoked.update(filter(None, [os.environ.get("CONTRACT_REVOKED")]))
