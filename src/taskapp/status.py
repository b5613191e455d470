"""The state of a task by its id."""

from typing import Any

from celery import Celery

from taskapp.app import app as taskapp


def get_task_status(task_id: str, app: Celery = taskapp) -> dict[str, Any]:
    """`{"status": ..., "result": ... or None, "error": text or None}`; an unknown id is PENDING."""
    result = app.AsyncResult(task_id)
    status, value = result.status, result.result
    return {
        "status": status,
        "result": value if status == "SUCCESS" else None,
        "error": str(value) if status == "FAILURE" else None,
    }
