"""Apps that the verbs reach the fleet by."""

from collections.abc import Mapping

from celery import Celery
from celery.signals import before_task_publish

from celery_fleet.install import bare_app as make_bare_app
from celery_fleet.install import install, load_app
from celery_fleet.policy.retry import stamp_since
from celery_fleet.service.environment import Environment
from celery_fleet.topology.model import Topology

_SOON = {"socket_timeout": 5, "socket_connect_timeout": 3, "max_retries": 1}


def bare_app(environment: Environment, topology: Topology) -> Celery:
    """An app without tasks. What it cannot reach it gives up soon: somebody waits for the answer."""
    return _hasty(make_bare_app(environment, topology))


def user_app(variables: Mapping[str, str]) -> Celery:
    """The fleet's own app with every task that it registers. Raises InstallError."""
    app = load_app(Environment.read(variables).app)
    install(app, variables)
    app.loader.import_default_modules()
    return _hasty(app)


def _hasty(app: Celery) -> Celery:
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
