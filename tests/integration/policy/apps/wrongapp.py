"""A Celery app with settings that Celery would ignore."""

from celery import Celery

app = Celery("wrong")
app.conf.task_max_retries = 5
app.conf.task_time_limits = {"x": 5}
