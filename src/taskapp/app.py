"""The Celery app.

Celery itself reads the broker and the result backend from `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND`.
"""

from celery import Celery

HEALTH_CHECK_INTERVAL = 300
"""Seconds between two health checks of all active applications."""

app = Celery(
    "taskapp",
    include=[
        "taskapp.analytics",
        "taskapp.applications",
        "taskapp.cleanup",
        "taskapp.diagnostics",
        "taskapp.gather",
        "taskapp.jobs",
        "taskapp.mail",
        "taskapp.promgen",
        "taskapp.reports",
    ],
)

app.conf.update(
    broker_url="redis://localhost:6379/0",
    broker_connection_retry_on_startup=True,
    result_backend="redis://localhost:6379/0",
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    enable_utc=True,
    task_track_started=True,
    task_time_limit=30 * 60,
    # Every task is idempotent, so a worker may die at any moment and the task runs again elsewhere.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=2,
    # The name of the worker and of the task, kept with the result.
    result_extended=True,
    beat_schedule={
        "check-active-applications": {
            "task": "taskapp.applications.check_all_active",
            "schedule": HEALTH_CHECK_INTERVAL,
            # A check that waited for a whole interval is superseded by the next one.
            "options": {"expires": HEALTH_CHECK_INTERVAL},
        },
    },
)
