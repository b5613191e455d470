"""Settings for programs whose answer somebody waits for: what they cannot reach they give up soon."""

from celery import Celery
from celery.signals import before_task_publish

from .retry import stamp_since

_SOON = {"socket_timeout": 5, "socket_connect_timeout": 3, "max_retries": 1}


def hasty(app: Celery) -> Celery:
    """The app, impatient; what it sends is stamped with the time when it is due, as a worker's sends are."""
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **_SOON}
    app.conf.update(
        redis_socket_timeout=5,
        redis_socket_connect_timeout=3,
        result_backend_always_retry=False,
        broker_connection_timeout=3,
        broker_connection_max_retries=1,
        task_publish_retry=False,
    )
    before_task_publish.connect(stamp_since)
    return app
