"""A Celery app whose tasks fail in every way, and write down how they were run. It knows nothing of what runs it."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from celery import Celery, chain, chord, group
from celery.exceptions import SoftTimeLimitExceeded

app = Celery(
    "policy", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
app.conf.worker_lost_wait = 1


def note(task, text=""):
    """One line of JSON: what ran, when, from which queue, with which priority of the broker."""
    info = task.request.delivery_info
    line = {
        "task": task.name.rpartition(".")[2],
        "text": text,
        "at": time.time(),
        "queue": info["routing_key"],
        "priority": info["priority"],
        "worker": task.request.hostname,
        "id": task.request.id,
    }
    with Path(os.environ["POLICY_RECORD"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def runs(task):
    """How often this task has run, this run included."""
    return Path(os.environ["POLICY_RECORD"]).read_text().count(f'"id": "{task.request.id}"')


@app.task(bind=True)
def tell(self, *texts):
    note(self, texts[-1] if texts else "")


@app.task(bind=True)
def refused(self, good_from=1000):
    """Fails until it runs for the nth time."""
    note(self)
    if runs(self) < good_from:
        raise ConnectionError("refused")
    return "done"


@app.task(bind=True)
def slow(self, good_from=1000):
    """Takes too long, until it runs for the nth time."""
    note(self)
    if runs(self) < good_from:
        time.sleep(30)
    return "done"


@app.task(bind=True)
def stubborn(self, good_from=1000):
    """Takes too long, and does not heed the soft limit either."""
    note(self)
    while runs(self) < good_from:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(30)
    return "done"


@app.task(bind=True)
def dies(self, good_from=1000):
    note(self)
    if runs(self) < good_from:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@app.task(bind=True)
def again(self, good_from=1000):
    """Calls `self.retry` itself."""
    note(self)
    if runs(self) < good_from:
        raise self.retry(exc=KeyError("own"))
    return "done"


@app.task(bind=True)
def gate(self):
    """Runs until it is let go."""
    note(self)
    while not Path(os.environ["POLICY_RECORD"] + ".open").exists():
        time.sleep(0.02)


@app.task(bind=True)
def fails(self):
    raise ValueError("no")


@app.task(bind=True)
def parent(self):
    """Sends tasks in every way that Celery has."""
    tell.delay("child")
    tell.apply_async(("override",), priority=2)
    tell.apply_async(("callback of callback",), link=tell.si("link"))
    fails.apply_async(link_error=tell.si("errback"))
    chain(
        tell.si("chain 1"), tell.si("chain 2"), tell.si("chain override").set(priority=3), tell.si("chain 4")
    )()
    chord(group(tell.si("header"), tell.si("header")), tell.si("body"))()
