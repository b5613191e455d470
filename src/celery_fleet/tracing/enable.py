"""Puts traces under an app. Importing this module is what they cost; nobody does where tracing is off."""

from celery import Celery, signals
from opentelemetry import trace

from celery_fleet.service.environment import Environment

from . import clients
from .process import Tracing
from .spans import Spans

_made: dict[str, Tracing] = {}


def of_process(environment: Environment) -> Tracing:
    """One for the process. Raises OSError for headers that cannot be read."""
    if "tracing" not in _made:
        _made["tracing"] = Tracing(environment)
    return _made["tracing"]


def trace_sending(app: Celery, environment: Environment) -> None:
    """For programs that only send. Raises OSError."""
    Spans(of_process(environment)).of_sending(app)


def trace_all(app: Celery, environment: Environment) -> None:
    """For the processes of the app, of which some run its tasks. Raises OSError."""
    tracing = of_process(environment)
    spans = Spans(tracing)
    spans.of_sending(app)
    spans.of_running()
    clients.load()
    signals.worker_init.connect(tracing.wait_for_tasks)
    signals.worker_process_init.connect(tracing.begin_child)
    signals.worker_process_shutdown.connect(tracing.close)


def of_console(environment: Environment) -> trace.TracerProvider:
    """What makes the spans of requests; commands to Redis have theirs below them. Raises OSError."""
    provider = of_process(environment).provider()
    clients.observe_redis(provider)
    return provider
