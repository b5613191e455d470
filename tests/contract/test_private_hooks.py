"""What the fleet uses of Celery, kombu and billiard beyond their documentation: names and parameters.

Whatever `celery_fleet` overrides or calls by a private name must stand in HOOKS, by the module that does.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from billiard import einfo, util
from billiard import pool as billiard_pool
from celery import Celery, _state, beat, bootsteps, schedules, signals
from celery.app import amqp, annotations, defaults, routes, trace
from celery.app.base import Celery as App
from celery.app.task import Context, Task
from celery.backends import base as backends_base
from celery.backends import redis as backends_redis
from celery.concurrency import base as pools
from celery.concurrency import gevent, prefork, solo, thread
from celery.utils import imports, serialization
from celery.worker import consumer, loops, pidbox, request, state
from celery.worker.consumer import consumer as consumer_module
from kombu import Consumer as MessageConsumer
from kombu import connection
from kombu import transport as transports
from kombu.asynchronous import semaphore
from kombu.transport import redis as transport
from kombu.transport import virtual
from kombu.transport.virtual import base as virtual_base
from redis import connection as redis_connection

import celery_fleet

SOURCES = Path(celery_fleet.__file__).parent
FOREIGN = {"celery", "kombu", "billiard", "redis", "concurrent"}

DATA = None
"""In place of parameters: no function."""

HOOKS: dict[str, list[tuple[Any, str, str | None]]] = {
    "console.results": [
        (backends_redis.RedisBackend, "add_pending_result", "self result weak start_drainer"),
        (backends_redis.RedisBackend, "add_pending_results", "self results weak"),
        (backends_redis.RedisBackend, "remove_pending_result", "self result"),
    ],
    "delivery.transport": [
        (transports, "TRANSPORT_ALIASES", DATA),
        (transports, "_transport_cache", DATA),
        (transport.Transport, "Channel", DATA),
        (transport.SentinelTransport, "Channel", DATA),
        (transport.Channel, "QoS", DATA),
        (transport.Channel, "_put", "self queue message kwargs"),
        (transport.Channel, "_brpop_start", "self timeout"),
        (transport.Channel, "_brpop_read", "self options"),
        (transport.Channel, "_brpop_sent_at", DATA),
        (transport.Channel, "_in_poll", DATA),
        (transport.Channel, "_closing", DATA),
        (transport.Channel, "_expires", DATA),
        (transport.Channel, "_queue_cycle", DATA),
        (transport.Channel, "_flush_brpop_reauth", "self"),
        (transport.Channel, "_on_connection_disconnect", "self connection"),
        (transport.Channel, "_after_fork", "self"),
        (transport.Channel, "_active_queues", DATA),
        (transport.Channel, "_basic_cancel", "self consumer_tag"),
        (transport.Transport, "register_with_event_loop", "self connection loop"),
        (transport.Channel, "_q_for_pri", "self queue pri"),
        (transport.Channel, "_queue_bind", "self exchange routing_key pattern queue"),
        (transport.Channel, "basic_consume", "self queue args kwargs"),
        (transport.Channel, "close", "self"),
        (transport.Channel, "active_fanout_queues", DATA),
        (transport.Channel, "active_queues", DATA),
        (transport.Channel, "brpop_timeout", DATA),
        (transport.Channel, "priority_steps", DATA),
        (transport.Channel, "unacked_key", DATA),
        (transport.Channel, "unacked_index_key", DATA),
        (transport.Channel, "global_keyprefix", DATA),
        (transport.Channel, "pool", DATA),
        (virtual.Channel, "_lookup", "self exchange routing_key default"),
        (virtual.Channel, "_get_message_priority", "self message reverse"),
        (virtual.Channel, "_qos", DATA),
        (virtual.Channel, "basic_get", "self queue no_ack kwargs"),
        (virtual.Channel, "typeof", "self exchange default"),
        (virtual.Transport, "_callbacks", DATA),
        (virtual.Transport, "_deliver", "self message queue"),
        (virtual_base.BrokerState, "bindings", DATA),
        (transport.QoS, "append", "self message delivery_tag"),
        (transport.QoS, "ack", "self delivery_tag"),
        (transport.QoS, "reject", "self delivery_tag requeue"),
        (transport.QoS, "restore_unacked", "self client"),
        (transport.QoS, "restore_by_tag", "self tag client leftmost"),
        (transport.QoS, "restore_visible", "self start num interval"),
        (transport.MultiChannelPoller, "_in_protected_read", DATA),
        (transport.MultiChannelPoller, "_register_BRPOP", "self channel"),
        (virtual.QoS, "restore_unacked_once", "self stderr"),
        (virtual.QoS, "_delivered", DATA),
        (virtual.QoS, "_flush", "self"),
        (virtual.QoS, "_quick_ack", DATA),
        (virtual.QoS, "_quick_append", DATA),
        (redis_connection.Connection, "pack_command", "self args"),
        (redis_connection.Connection, "send_packed_command", "self command check_health"),
        (redis_connection.Connection, "disconnect", "self args kwargs"),
        (state, "revoked", DATA),
    ],
    "delivery.control": [
        (pidbox.gPidbox, "loop", "self c"),
        (pidbox.gPidbox, "_node_shutdown", DATA),
    ],
    "delivery.custody": [(virtual.QoS, "_delivered", DATA), (virtual.Channel, "closed", DATA)],
    "delivery.results": [
        (backends_redis.RedisBackend, "on_task_call", "self producer task_id"),
        (backends_redis.RedisBackend, "ensure", "self fun args policy"),
        (backends_redis.RedisBackend, "_MAX_STR_VALUE_SIZE", DATA),
        (backends_redis.RedisBackend, "_store_result", "self task_id result state traceback request kwargs"),
        (
            backends_redis.RedisBackend,
            "_get_result_meta",
            "self result state traceback request format_date encode",
        ),
        (backends_redis.RedisBackend, "get_key_for_task", "self task_id key"),
        (backends_redis.RedisBackend, "failure_expires", DATA),
    ],
    "delivery.ownership": [
        (consumer.Consumer, "ensure_connected", "self conn"),
        (connection.Connection, "ensure_connection", "self args kwargs"),
    ],
    "delivery.running": [
        (state, "active_requests", DATA),
        (state, "reserved_requests", DATA),
        (state, "requests", DATA),
        (request.Request, "_apply_result", DATA),
        (request.Request, "_already_cancelled", DATA),
        (prefork.TaskPool, "_pool", DATA),
        (prefork.TaskPool, "flush", "self"),
        (gevent.TaskPool, "is_green", DATA),
        (billiard_pool.Pool, "_cache", DATA),
        (billiard_pool.ApplyResult, "_job", DATA),
        (billiard_pool.ApplyResult, "_accepted", DATA),
        (billiard_pool.ApplyResult, "_write_to", DATA),
        (semaphore.LaxBoundedSemaphore, "value", DATA),
        (semaphore.LaxBoundedSemaphore, "initial_value", DATA),
    ],
    "install": [
        (App, "_tasks", DATA),
        (App, "amqp", DATA),
        (Task, "from_config", DATA),
        (Task, "__bound__", DATA),
    ],
    "policy.annotations": [
        (annotations, "prepare", "annotations"),
        (Task, "annotate", DATA),
        (Task, "Request", DATA),
        (Task, "reject_on_worker_lost", DATA),
    ],
    "policy.resending": [
        (Task, "signature_from_request", "self request args kwargs queue extra_options"),
        (Task, "subtask_from_request", DATA),
        (Task, "retry", "self args kwargs exc throw eta countdown max_retries options"),
        (Task, "override_max_retries", DATA),
    ],
    "policy.routing": [
        (routes, "prepare", "routes"),
        (routes, "MapRoute", DATA),
        (routes.Router, "query_router", "self router task args kwargs options task_type"),
        (App, "current_worker_task", DATA),
    ],
    "policy.settings": [
        (defaults, "_TO_NEW_KEY", DATA),
        (defaults, "NAMESPACES", DATA),
        (defaults, "SETTING_KEYS", DATA),
    ],
    "service.beat": [
        (beat.Service, "_last_tick", DATA),
        (beat.Service, "scheduler", DATA),
        (beat.Scheduler, "max_interval", DATA),
        (beat.Scheduler, "old_schedulers", DATA),
        (beat.Scheduler, "_heap", DATA),
        (schedules.crontab, "_orig_minute", DATA),
        (schedules.crontab, "_orig_hour", DATA),
        (schedules.crontab, "_orig_day_of_month", DATA),
        (schedules.crontab, "_orig_month_of_year", DATA),
        (schedules.crontab, "_orig_day_of_week", DATA),
    ],
    "service.cancel": [
        (state, "revoked", DATA),
        (state, "requests", DATA),
        (state, "active_requests", DATA),
        (backends_base.Backend, "mark_as_revoked", "self task_id reason request store_result state"),
    ],
    "service.celerylog": [
        (trace, "LOG_SUCCESS", DATA),
        (trace, "LOG_FAILURE", DATA),
        (trace, "LOG_REJECTED", DATA),
        (trace, "LOG_RETRY", DATA),
        (consumer_module, "UNKNOWN_TASK_ERROR", DATA),
        (consumer_module, "INVALID_TASK_ERROR", DATA),
        (consumer_module, "MESSAGE_DECODE_ERROR", DATA),
        (consumer_module, "UNKNOWN_FORMAT", DATA),
    ],
    "service.consuming": [
        (state, "active_requests", DATA),
        (state, "scheduled_requests", DATA),
        (MessageConsumer, "consuming_from", "self queue"),
        (MessageConsumer, "queues", DATA),
        (amqp.Queues, "consume_from", DATA),
        (virtual.QoS, "can_consume", "self"),
        (transport.Channel, "_brpop_sent_at", DATA),
        (gevent.TaskPool, "_pool", DATA),
        (gevent.TaskPool, "_pool_map", DATA),
        (pools.BasePool, "limit", DATA),
        (thread.TaskPool, "executor", DATA),
        (futures.ThreadPoolExecutor, "_threads", DATA),
        (futures.ThreadPoolExecutor, "_idle_semaphore", DATA),
        (threading.Semaphore, "_value", DATA),
        (
            pools,
            "apply_target",
            "target args kwargs callback accept_callback pid getpid propagate monotonic _",
        ),
        (sys, "_current_frames", DATA),
        (billiard_pool.Pool, "_pool", DATA),
        (billiard_pool.Pool, "_cache", DATA),
        (billiard_pool.Pool, "maintain_pool", "self"),
        (billiard_pool.ApplyResult, "ready", "self"),
        (billiard_pool.ApplyResult, "worker_pids", "self"),
        (consumer.Consumer, "task_buckets", DATA),
        (request.Request, "time_limits", DATA),
        (request.Request, "time_start", DATA),
    ],
    "service.memory": [
        (util, "get_pdeathsig", ""),
        (signals, "worker_before_create_process", DATA),
    ],
    "service.presence": [
        (state, "should_stop", DATA),
        (state, "should_terminate", DATA),
        (request.Request, "time_start", DATA),
        (pools.BasePool, "num_processes", DATA),
    ],
    "service.readiness": [
        (consumer.Consumer, "call_soon", "self p args kwargs"),
        (state, "should_stop", DATA),
        (state, "should_terminate", DATA),
        (state, "all_total_count", DATA),
        (pools.BasePool, "num_processes", DATA),
    ],
    "service.recorder": [(serialization, "UnpickleableExceptionWrapper", DATA)],
    "service.aside": [
        (consumer.Consumer, "on_decode_error", "self message exc"),
        (consumer.Consumer, "on_unknown_message", "self body message"),
        (consumer.Consumer, "on_unknown_task", "self body message exc"),
        (consumer.Consumer, "on_invalid_task", "self body message exc"),
        (consumer.Consumer, "create_task_handler", "self promise"),
    ],
    "service.request": [
        (request.Request, "on_accepted", "self pid time_accepted"),
        (request.Request, "on_timeout", "self soft timeout"),
        (request.Request, "on_success", "self failed__retval__runtime kwargs"),
        (request.Request, "on_failure", "self exc_info send_failed_event return_ok"),
        (request.Request, "acknowledge", "self"),
        (request.Request, "reject", "self requeue"),
        (request.Request, "revoked", "self"),
        (request.Request, "info", "self safe"),
        (request.Request, "send_event", "self type fields"),
        (request.Request, "_announce_revoked", "self reason terminated signum expired"),
        (request.Request, "_retry_worker_lost", "self exc exc_info"),
        (request.Request, "_success_was_stored", "self"),
        (request.Request, "_worker_lost_info", "self exc"),
        (request.Request, "_already_cancelled", DATA),
        (request.Request, "_already_revoked", DATA),
        (request.Request, "_context", DATA),
        (request.Request, "store_errors", DATA),
        (Task, "request_stack", DATA),
        (Task, "on_retry", "self exc task_id args kwargs einfo"),
        (_state, "_task_stack", DATA),
        (imports, "symbol_by_name", "name aliases imp package sep default kwargs"),
        (einfo, "ExceptionWithTraceback", DATA),
        (state, "task_ready", DATA),
    ],
    "service.state": [(state, "all_total_count", DATA)],
    "service.stop": [
        (virtual.QoS, "_delivered", DATA),
        (virtual.QoS, "_dirty", DATA),
        (transport.QoS, "restore_by_tag", "self tag client leftmost"),
        (state, "should_stop", DATA),
    ],
    "service.tasklog": [(_state, "get_current_task", "")],
    "tracing.context": [(_state, "get_current_task", "")],
    "tracing.spans": [(amqp.AMQP, "_create_task_sender", "self")],
    "store.retrying": [
        (transport.Channel, "_q_for_pri", "self queue pri"),
        (amqp, "task_message", DATA),
    ],
}


def parameters(function: Any) -> str:
    return " ".join(inspect.signature(function).parameters)


ROWS = [pytest.param(m, *hook, id=f"{m}-{hook[0].__name__}.{hook[1]}") for m in HOOKS for hook in HOOKS[m]]


@pytest.mark.parametrize(("module", "owner", "name", "expected"), ROWS)
def test_private_hooks_are_there(module, owner, name, expected):
    """What a module of the fleet overrides, calls or reads is there, and takes what it took."""
    if expected is DATA:
        assert hasattr(owner, name) or _is_set_by(owner, name)
    else:
        assert parameters(getattr(owner, name)) == expected


def _is_set_by(owner: type, name: str) -> bool:
    """Whether the instances get the attribute from a method of the class or its bases."""
    return bool(re.search(rf"\bself\.{name}(: [^=\n]+)? =(?!=)", _source(owner)))


@cache
def _source(owner: type) -> str:
    return "\n".join(inspect.getsource(each) for each in owner.__mro__ if each is not object)


@pytest.mark.parametrize(("module", "owner", "name", "expected"), ROWS)
def test_private_hooks_are_used(module, owner, name, expected):
    """A row that nobody needs any more goes."""
    text = (SOURCES / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", text), "remove the row from HOOKS"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCES.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        if not name.endswith("__init__"):
            yield name, path


def private_names_used() -> Iterator[tuple[str, str]]:
    """(module, name) of each private attribute or import that the fleet does not define itself."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in modules()}
    own = {name for tree in trees.values() for name in _defined(tree)} | {"_exit"}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Attribute):
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and _is_foreign(node.module or ""):
                names = [alias.name for alias in node.names]
            yield from (
                (module, name)
                for name in names
                if name.startswith("_") and not name.startswith("__") and name not in own
            )


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def overridden() -> Iterator[tuple[str, str]]:
    """(module, name) of what the fleet's classes put in the place of what a class of Celery or kombu has."""
    for module in pkgutil.walk_packages(celery_fleet.__path__, "celery_fleet."):
        if module.name in (
            "celery_fleet.app",
            "celery_fleet.bare",
            "celery_fleet.run",
        ) or module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for cls in vars(loaded).values():
            if isinstance(cls, type) and cls.__module__ == module.name:
                yield from _overridden_by(cls)


def _overridden_by(cls: type) -> Iterator[tuple[str, str]]:
    """Also by mix-ins, which have no foreign base themselves."""
    internal = [base for base in cls.__mro__ if _is_internal(base)]
    for own in (each for each in cls.__mro__ if each.__module__.startswith("celery_fleet.")):
        for name in vars(own):
            if not name.startswith("__") and any(name in vars(base) for base in internal):
                yield own.__module__.removeprefix("celery_fleet."), name


def _is_internal(cls: type) -> bool:
    """A class of theirs that is not made to be derived from, as bootsteps are."""
    return _is_foreign(cls.__module__) and cls.__module__ != "celery.bootsteps"


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] in FOREIGN


def test_every_private_hook_is_pinned():
    """What is private, or overridden, and not in HOOKS would change unnoticed."""
    pinned = {(module, name) for module in HOOKS for _, name, _ in HOOKS[module]}
    missing = {*private_names_used(), *overridden()} - pinned
    assert not missing, "add rows to HOOKS"


def test_a_task_annotates_itself_when_it_is_bound():
    """It has its name and its own `run` then. policy.annotations relies on it."""
    app = Celery(set_as_current=False)
    seen = []

    class Annotations:
        def annotate(self, task):
            seen.append((task.name, task.__bound__, "run" in vars(task)))

    app.conf.task_annotations = [Annotations()]

    @app.task(name="t", shared=False)
    def run():
        """A task."""

    app.finalize()
    app.close()
    assert ("t", True, True) in seen
    assert annotations.prepare(None) == ()


def test_headers_of_a_message_reach_the_next_one_of_the_same_task():
    """Unknown headers are in `headers` of the context, and sent with a retry. service.request counts by them."""
    context = Context({"id": "1", "lang": "py", "fleet_lost": 2})
    assert context.headers == {"fleet_lost": 2}
    assert context.as_execution_options()["headers"] == {"fleet_lost": 2}


def test_a_retry_leaves_its_limit_on_the_task():
    """policy.retry and policy.resending remove `override_max_retries` again."""
    assert "self.override_max_retries = max_retries" in inspect.getsource(Task.retry)


def test_a_route_may_take_an_option_out():
    """Options win over a route, which gets the very dictionary: policy.routing takes the priority out of it."""

    def route(name, args, kwargs, options, task=None):
        return {"queue": "q", "priority": options.pop("priority") + 1}

    app = Celery(set_as_current=False)
    app.conf.task_routes = [route]
    sent = app.amqp.router.route({"priority": 4}, "t", (), {})
    app.close()
    assert sent["priority"] == 5


def test_urls_for_reading_and_writing_come_before_the_environment(monkeypatch):
    """install configures those with the password; the environment's have none."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://environment/0")
    app = Celery(set_as_current=False)
    app.conf.broker_read_url = app.conf.broker_write_url = "redis://w:secret@configured/0"
    for made in (app.connection_for_read(), app.connection_for_write(), app.connection()):
        assert (made.hostname, made.password) == ("configured", "secret")
    assert "secret" not in str(app.conf.table())
    app.close()


def test_what_is_made_before_the_installation_is_cached_where_it_is_renewed():
    """`amqp` is kept in the dictionary of the app, from which install removes it."""
    app = Celery(set_as_current=False)
    assert isinstance(app.amqp, amqp.AMQP)
    assert "amqp" in vars(app)
    app.close()


def test_beat_shows_its_ticks_and_its_connection():
    """service.beat tells by them whether Beat schedules, or waits for its first connection."""
    service = beat.Service(Celery(set_as_current=False), scheduler_cls=beat.Scheduler)
    assert service._last_tick is None
    assert not {"connection", "producer"} & set(vars(service.scheduler))
    assert inspect.getsource(beat.Service.start).count("self._last_tick = time.monotonic()") == 2
    assert "signals.beat_init.send(sender=self)" in inspect.getsource(beat.Service.start)


def test_celery_logs_the_ends_of_tasks_by_these_texts():
    """service.celerylog drops them, as those of service.tasklog say it better."""
    for name in ("LOG_SUCCESS", "LOG_FAILURE", "LOG_REJECTED", "LOG_RETRY"):
        assert getattr(trace, name) in inspect.getsource(trace)


def test_signals_are_sent_while_the_task_is_current():
    """service.tasklog finds the task of a record by `get_current_task`."""
    source = inspect.getsource(trace.build_tracer)
    order = ("push_request(task_request)", "send_prerun(", "send_postrun(", "pop_request()")
    places = [source.index(each) for each in order]
    assert places == sorted(places)
    assert _state.get_current_task() is None


def test_a_worker_consumes_last():
    """The main loop is the last step of the consumer: any step that requires the connection comes before it.

    delivery.ownership takes the name of its node there, before the first message is taken.
    """

    class Step(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.connection:Connection",)

    blueprint = consumer.Consumer.Blueprint(steps=[*consumer.Consumer.Blueprint.default_steps, Step])
    blueprint.steps = blueprint.claim_steps()
    order = [step.__name__ for step in blueprint._finalize_steps(blueprint.steps)]
    assert order.index("Connection") < order.index("Step") < order.index("Evloop") == len(order) - 1
    for loop in (loops.asynloop, loops.synloop):
        assert "consumer.consume()" in inspect.getsource(loop)


def test_celery_makes_a_request_class_for_each_task_from_its_own():
    """It overrides `on_success` in it, without calling the base: service.request wraps that."""
    source = inspect.getsource(request.create_request_cls)
    assert "class Request(base):" in source
    assert "def on_success(self, failed__retval__runtime, **kwargs):" in source
    assert isinstance(Task.Request, str)


def test_the_kind_of_a_pool_is_the_name_of_its_module():
    """service.consuming goes by it."""
    kinds = {pool.__module__ for pool in (prefork.TaskPool, solo.TaskPool, thread.TaskPool, gevent.TaskPool)}
    assert kinds == {f"celery.concurrency.{kind}" for kind in ("prefork", "solo", "thread", "gevent")}


def test_counters_of_the_worker_state():
    """Active requests are a WeakSet, the total a list of one: service.consuming and service.state read them."""
    assert isinstance(state.all_total_count, list)
    assert isinstance(state.active_requests.data, set)
    assert len(state.active_requests) == 0
    assert state.should_stop is None
    assert state.should_terminate is None
