"""Settings of the shop. BOOKSHOP_DATA is the directory of its database; without it, the current one."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

DATA = Path(os.environ.get("BOOKSHOP_DATA", "."))

# Nothing here outlives a process that would have to be signed with it.
SECRET_KEY = get_random_secret_key()

INSTALLED_APPS = ["orders"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "bookshop.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

CELERY_BROKER_URL = "redis://localhost:6379/0"
CELERY_RESULT_BACKEND = "redis://localhost:6379/1"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "Asia/Tokyo"
CELERY_TASK_ROUTES = {"orders.tasks.restock": {"queue": "stock"}}
CELERY_TASK_ANNOTATIONS = {"orders.tasks.slow_report": {"soft_time_limit": 2}}
CELERY_BEAT_SCHEDULE = {
    "cancel-stale-orders": {"task": "orders.tasks.cancel_stale", "schedule": 3.0, "kwargs": {"days": 30}},
}
