"""`load_app` and `install`: put the fleet under a Celery app, whose code knows nothing of it."""

import logging
import os
import socket
import traceback
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd

from .delivery import transport
from .delivery.wiring import deliver_atomically, send_atomically
from .policy.annotations import TaskAnnotations
from .policy.connection import connection_settings, with_password
from .policy.priority import Scale
from .policy.retry import stamp_since
from .policy.routing import Router, task_queues
from .policy.schedule import beat_schedule
from .policy.settings import ignored_settings
from .policy.variables import priority_scale, with_variables
from .service import logs, memory, showing, tasklog
from .service.aside import SetAside
from .service.beat import watch_beat
from .service.cancel import Cancellation
from .service.environment import Environment
from .service.presence import Presenting
from .service.readiness import Readiness
from .service.recorder import Recording
from .service.request import fleet_request
from .service.tasklog import one_line
from .store.connection import use_state_url
from .topology.discretion import Discretion
from .topology.load import load_topology
from .topology.model import Topology
from .topology.problem import InvalidTopology
from .tracing.context import carry
from .tracing.packages import enabling

log = logging.getLogger(__name__)

_BEAT_LOOP = 5
"""Seconds between ticks of Beat, at most: how soon a Beat that hangs is noticed."""


class InstallError(Exception):
    """The app, the environment or the topology is not usable. Its text says why, in one line."""


def load_app(name: str) -> Celery:
    """The app `module:attribute`, or that of a module, found as `celery -A` finds it. Raises InstallError."""
    if not name:
        raise InstallError("CELERY_FLEET_APP names no app")
    module, _, attribute = name.partition(":")
    try:
        found = attrgetter(attribute)(import_from_cwd(module)) if attribute else find_app(name)
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        raise InstallError(f"the app {name} cannot be imported: {text}{_place(error)}") from error
    if not isinstance(found, Celery):
        raise InstallError(f"{name} is a {type(found).__name__}, not a Celery app")
    return found


def install(app: Celery, variables: Mapping[str, str] = os.environ) -> None:
    """Configures the app by the topology, and has its processes behave as services.

    `variables` are those of `Environment`. Raises InstallError. Celery itself reads CELERY_BROKER_URL and
    CELERY_RESULT_BACKEND, and prefers them to what is configured; they stay without a password.
    """
    environment = Environment.read(variables)
    try:
        topology = with_variables(_topology(environment), variables)
        scale = priority_scale(variables)
    except ValueError as error:
        raise InstallError(one_line(str(error))) from error
    _refuse_ignored_settings(app)
    _configure(app, environment, topology, scale)
    showing.follow(Discretion(topology))
    _observe(app, environment)
    _record(app, environment, topology)
    if environment.tracing:
        _trace(app, environment, "trace_all")


def bare_app(environment: Environment, topology: Topology) -> Celery:
    """An app without tasks that reaches what the user's app does, of which nothing is imported.

    For programs that look after the fleet. Raises InstallError.
    """
    if topology.delivery == "atomic":
        transport.use()
    app = Celery("celery_fleet", broker=environment.broker_url, set_as_current=False)
    app.conf.update(
        {
            **_credentials(environment),
            **connection_settings(topology, "fleet", {}),
            "task_queues": task_queues(topology),
            "task_default_queue": topology.default_queue,
            "task_create_missing_queues": False,
            "task_routes": [Router(app, topology)],
            "accept_content": ["json"],
        }
    )
    secured = app.connection_for_write().ssl
    if secured:  # what the URL says of it; Flower does not look there
        app.conf.broker_use_ssl = secured
    _find_state(app, environment)
    showing.follow(Discretion(topology))
    if topology.delivery == "atomic":
        send_atomically(app)
    if environment.tracing:
        _trace(app, environment, "trace_sending")
    return app


def _place(error: Exception) -> str:
    """Where in the user's files it went wrong, if it did there."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and frame.filename != __file__
        and not {"importlib", "celery", "kombu"} & set(Path(frame.filename).parts)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _topology(environment: Environment) -> Topology:
    if environment.topology is None:
        raise InstallError("CELERY_FLEET_TOPOLOGY names no topology file")
    try:
        return load_topology(environment.topology)
    except InvalidTopology as error:
        raise InstallError(" ".join(str(error).split())) from error


def _refuse_ignored_settings(app: Celery) -> None:
    mistaken, suspicious = ignored_settings(app)
    if mistaken:
        raise InstallError(f"the app's configuration: {'; '.join(mistaken)}")
    if suspicious:
        log.warning("The app configures what is no setting of Celery: %s", ", ".join(suspicious))


def _configure(app: Celery, environment: Environment, topology: Topology, scale: Scale) -> None:
    conf = app.conf
    router = Router(app, topology, conf.task_routes, scale)
    try:
        annotations = TaskAnnotations(
            topology,
            fleet_request,
            conf.task_annotations,
            settings_for=router.settings_for,
            scale=scale,
            default_priority=conf.task_default_priority,
        )
    except ValueError as error:
        raise InstallError(f"the topology's retry policies cannot be used: {error}") from error
    client = f"{environment.pool or 'celery'}@{socket.gethostname()}"
    settings = {
        **_credentials(environment),
        **connection_settings(topology, client, conf.broker_transport_options),
        "task_queues": task_queues(topology),
        "task_default_queue": topology.default_queue,
        "task_create_missing_queues": False,  # nobody would consume them
        "task_routes": [router],
        # The router has it inherited, unless the one who sends says something else.
        "task_inherit_parent_priority": False,
        "task_annotations": [annotations],
        "beat_schedule": {**conf.beat_schedule, **beat_schedule(topology)},
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "enable_utc": True,
        "task_track_started": True,
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # A task whose process dies is retried, which is counted; rejected, it would be delivered without end.
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": True,
        "worker_redirect_stdouts": False,
        # Celery takes what is configured here for what --pool=prefork says.
        "worker_pool": "prefork",
        "worker_cancel_long_running_tasks_on_connection_loss": environment.on_connection_loss == "cancel",
    }
    defaults = {
        "beat_max_loop_interval": _BEAT_LOOP,
        "result_expires": 86400,
        "timezone": "UTC",
        "worker_prefetch_multiplier": 1,
    }
    settings |= {name: value for name, value in defaults.items() if not conf.value_set_for(name)}
    conf.update(settings)
    if topology.delivery == "atomic":
        deliver_atomically(app, topology, client)
    _renew_what_was_made_before(app, settings, annotations)


def _credentials(environment: Environment) -> dict[str, Any]:
    if environment.password_file is None:
        return {}
    try:
        password = environment.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InstallError(f"{environment.password_file} cannot be read: {error.strerror}") from error
    if not password:
        raise InstallError(f"{environment.password_file} is empty")
    found: dict[str, Any] = {"redis_password": password}
    if environment.broker_url:
        url = with_password(environment.broker_url, password)
        found |= {"broker_read_url": url, "broker_write_url": url}
    return found


def _renew_what_was_made_before(
    app: Celery, settings: Mapping[str, Any], annotations: TaskAnnotations
) -> None:
    """A module may use its app while it is imported: queues and tasks were then made by the old settings."""
    vars(app).pop("amqp", None)
    for task in app._tasks.values():
        if type(task).__bound__:
            found = {attribute: settings[name] for attribute, name in task.from_config if name in settings}
            for attribute, value in (found | annotations.annotate(type(task))).items():
                setattr(type(task), attribute, value)


def _observe(app: Celery, environment: Environment) -> None:
    app.steps["worker"].add(Readiness.for_queues(environment.queues, environment.stop_timeout))
    signals.beat_init.connect(watch_beat)
    signals.setup_logging.connect(logs.receiver(environment), weak=False)
    signals.before_task_publish.connect(stamp_since)
    signals.before_task_publish.connect(carry)
    signals.worker_init.connect(memory.preload)
    signals.worker_before_create_process.connect(memory.freeze)
    signals.worker_process_init.connect(memory.prefer_for_oom_kill)
    tasklog.connect()


def _record(app: Celery, environment: Environment, topology: Topology) -> None:
    _find_state(app, environment)
    app.steps["worker"].add(
        Recording.for_limits(
            dead_letter_limit=topology.dead_letter_limit,
            dead_letter_age=topology.dead_letter_age,
            task_index_limit=topology.task_index_limit,
        )
    )
    app.steps["worker"].add(Presenting.of_release(environment.release))
    app.steps["consumer"].add(SetAside)
    app.steps["consumer"].add(Cancellation.for_delivery(topology.delivery))


def _find_state(app: Celery, environment: Environment) -> None:
    if environment.state_url:
        password = app.conf.redis_password
        use_state_url(
            app, with_password(environment.state_url, password) if password else environment.state_url
        )


def _trace(app: Celery, environment: Environment, how: str) -> None:
    """`how`: a function of `tracing.enable`, which nothing else imports: where traces are off, they cost nothing."""
    enable = enabling()
    if enable:
        try:
            getattr(enable, how)(app, environment)
        except OSError as error:
            raise InstallError(f"the headers for traces cannot be read: {error}") from error
