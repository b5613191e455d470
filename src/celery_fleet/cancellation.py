"""For tasks that want to end early when they are cancelled; optional.

    from celery_fleet.cancellation import raise_if_cancelled

    @app.task
    def work(items):
        for item in items:
            raise_if_cancelled()
            handle(item)

Needed where nothing else can end a running task: in pools of threads, and in solo.
"""

from .service.cancel import TaskCancelledError, raise_if_cancelled

__all__ = ["TaskCancelledError", "raise_if_cancelled"]
