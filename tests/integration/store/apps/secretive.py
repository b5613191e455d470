"""An app that says its arguments wherever it can."""

import logging
import os

from celery import Celery

app = Celery(
    "secretive", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND")
)
log = logging.getLogger("secretive")


@app.task
def login(user, password, again=False, **more):
    log.warning("logging in %s with %s and %s", user, password, more)
    if not again:
        raise ValueError(f"{user}: {password} is wrong, and so is {more}")
    return len(password)


@app.task(bind=True, max_retries=1)
def twice(self, user, **more):
    raise self.retry(exc=KeyError(f"{user} {more}"), countdown=0)


@app.task
def sealed(*args):
    raise RuntimeError(f"cannot open {args}")
