"""The field tables: every variable of an inventory, every key of a queue, route, pool, retry or beat entry.

The topology file of the hosts holds the same queues, routes and beat entries, and is read by these tables.
"""

import builtins
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .cron import parse_cron
from .fields import (
    WRONG,
    Environment,
    Field,
    Fields,
    Json,
    ListOf,
    Named,
    Nullable,
    Record,
    Scalar,
    Switched,
    defaults_of,
    duration,
    number,
    one_of,
    or_word,
    plain,
    size,
    switch,
    text,
    whole,
)
from .hints import unknown_variable
from .problem import Problem
from .units import MIB, parse_duration

PREFORK, THREADS, GEVENT, SOLO = "prefork", "threads", "gevent", "solo"
FINISH, REQUEUE = "finish", "requeue"
AUTO, FOREVER = "auto", "forever"
ATOMIC, STOCK = "atomic", "stock"
CONTINUE, CANCEL = "continue", "cancel"
LEAST_CHILD_MEMORY = 64 * MIB

_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NAME_REMEDY = "use up to 63 letters, digits, _ . and -, a letter or digit first; quote numbers"

QUEUE_NAME = text("a name of a queue", _NAME, _NAME_REMEDY)
POOL_NAME = text("a name of a pool (it becomes the instance name of a systemd unit)", _NAME, _NAME_REMEDY)
BEAT_NAME = text("a name of a beat entry", _NAME, _NAME_REMEDY)
TYPE_NAME = text("a name of a type of task", _NAME, _NAME_REMEDY)
_TASK = text(
    "a name of a task",
    r"[^\s*?\[\]]{1,255}",
    "give the name that the task is registered by, such as app.tasks.send",
)
_PATTERN = text(
    "a name of a task or a pattern", r"\S{1,255}", 'give a name or a pattern such as "app.email.*"'
)
_PRIORITY = whole("a priority", 1, 10)
_SENSITIVE = switch("a switch")
_ARGUMENT = text(
    "a name of an argument or a pattern", r"[^\s]{1,100}", 'give a name or a pattern such as "*_secret"'
)
SENSITIVE_ARGUMENTS = [
    "*password*", "*passwd*", "*passphrase*", "*secret*", "*token", "*api_key*", "*apikey*", "*private_key*",
    "*access_key*", "*credential*", "*authorization*", "cookie",
]  # fmt: skip
_HARD_LIMIT = duration()
_SOFT_LIMIT = Nullable(duration())
_DELIVERIES = whole("a number of deliveries", 1, 1000)


def _exception(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_DOTTED, value):
        raise ValueError
    if "." not in value:
        found = getattr(builtins, value, None)
        if not (isinstance(found, type) and issubclass(found, Exception)):
            raise ValueError("Python has no builtin exception of that name")
    return value


def _schedule(value: object) -> int | str:
    if isinstance(value, str) and len(value.split()) > 1:
        return parse_cron(value)
    seconds = parse_duration(value)
    if seconds < 1:
        raise ValueError("it must be at least a second")
    return seconds


_EXCEPTION = Scalar(
    "a name of an exception",
    _exception,
    "give a builtin one, such as TimeoutError, or one with its module, such as requests.exceptions.Timeout",
)
_SCHEDULE = Scalar(
    "a schedule",
    _schedule,
    'give seconds, a duration such as 5m, or a cron expression such as "*/5 * * * *"',
)

RETRY: Fields = {
    "max_retries": Field(or_word(FOREVER, whole("a number of retries", 0, 1_000_000)), 3),
    "delay": Field(duration(least=0), 60),
    "backoff": Field(number("a backoff factor", 1, 1000), 2.0),
    "max_delay": Field(duration(least=0), "10m"),
    "jitter": Field(switch("a switch"), True),
    "exceptions": Field(ListOf("exceptions", _EXCEPTION, distinct=True), ["ConnectionError", "TimeoutError"]),
    "max_age": Field(Nullable(duration()), "1d"),
    "queue": Field(Nullable(QUEUE_NAME), None),
}
_RETRY = Nullable(Record("a retry policy", RETRY), instead={})

# Limits, retries and deliveries without a default are inherited: route <- queue <- fleet.
QUEUE: Fields = {
    "description": Field(Nullable(text("a description", r".*", "give a string")), ""),
    "priority": Field(_PRIORITY, 5),
    "urgency": Field(one_of("an urgency", "urgent", "standard", "bulk"), "standard"),
    "time_limit": Field(_HARD_LIMIT),
    "soft_time_limit": Field(_SOFT_LIMIT),
    "retry": Field(_RETRY),
    "max_deliveries": Field(_DELIVERIES),
    "sensitive": Field(_SENSITIVE, False),
}

ROUTE: Fields = {
    "task": Field(_PATTERN, required=True),
    "queue": Field(QUEUE_NAME, required=True),
    "priority": Field(_PRIORITY),
    "time_limit": Field(_HARD_LIMIT),
    "soft_time_limit": Field(_SOFT_LIMIT),
    "retry": Field(_RETRY),
    "max_deliveries": Field(_DELIVERIES),
    "sensitive": Field(_SENSITIVE),
}

AUTOSCALE: Fields = {
    "min": Field(whole("a number of processes", 1, 4096), required=True),
    "max": Field(whole("a number of processes", 1, 4096), required=True),
}

_PATHS = ListOf(
    "paths",
    text(
        "a path",
        r"-?/[^\s%\"'\\]*",
        "give an absolute one, with a - in front where it may be absent; no spaces, quotes or %",
    ),
    distinct=True,
)
_DEVICE = text(
    "a device",
    r"(/dev/[^\s%]+|(char|block)-[a-z0-9*-]+)( [rwm]{1,3})?",
    'write it as "/dev/kvm rw" or "char-rtc r"',
)

# What a pool may do beyond the sandbox of all pools, by the names of systemd.exec(5). Lists add to it.
SANDBOX: Fields = {
    "AmbientCapabilities": Field(
        ListOf(
            "capabilities",
            text("a capability", r"CAP_[A-Z_]+", "give one of capabilities(7), such as CAP_NET_RAW"),
            distinct=True,
        )
    ),
    "DeviceAllow": Field(ListOf("devices", _DEVICE, distinct=True)),
    "InaccessiblePaths": Field(_PATHS),
    "LockPersonality": Field(switch("a switch")),
    "MemoryDenyWriteExecute": Field(switch("a switch")),
    "PrivateDevices": Field(switch("a switch")),
    "PrivateTmp": Field(switch("a switch")),
    "ProtectHome": Field(or_word("read-only", switch("a switch"))),
    "ProtectProc": Field(one_of("a word for whose processes are seen", "default", "invisible")),
    "ReadOnlyPaths": Field(_PATHS),
    "ReadWritePaths": Field(_PATHS),
    "RestrictAddressFamilies": Field(
        ListOf(
            "address families",
            text(
                "an address family", r"AF_[A-Z0-9_]+", "give one of address_families(7), such as AF_NETLINK"
            ),
            distinct=True,
        )
    ),
    "RestrictNamespaces": Field(switch("a switch")),
    "RestrictRealtime": Field(switch("a switch")),
    "SystemCallFilter": Field(
        ListOf(
            "system calls",
            text(
                "a system call",
                r"@?[a-z0-9_-]+",
                "give a name, or a group of `systemd-analyze syscall-filter`",
            ),
            distinct=True,
        )
    ),
}

POOL: Fields = {
    "queues": Field(ListOf("queues", QUEUE_NAME, distinct=True, filled=True), required=True),
    "kind": Field(one_of("a kind of pool", PREFORK, THREADS, GEVENT, SOLO), PREFORK),
    "concurrency": Field(or_word(AUTO, whole("a concurrency", 1, 4096)), AUTO),
    "autoscale": Field(Nullable(Record("autoscale", AUTOSCALE)), None),
    "prefetch_multiplier": Field(whole("a prefetch multiplier", 1, 10_000), 1),
    "max_tasks_per_child": Field(Nullable(whole("a number of tasks", 1)), 1000),
    "memory_per_child": Field(or_word(AUTO, size(LEAST_CHILD_MEMORY)), AUTO),
    "memory_parent": Field(size(16 * MIB), "256M"),
    "stop_policy": Field(one_of("a stop policy", FINISH, REQUEUE), FINISH),
    "stop_timeout": Field(or_word(AUTO, duration()), AUTO),
    "on_connection_loss": Field(one_of("a word for what to do", CONTINUE, CANCEL), CONTINUE),
    "log_level": Field(one_of("a log level", "debug", "info", "warning", "error"), "info"),
    "environment": Field(Nullable(Environment(), instead={}), {}),
    "sandbox": Field(Nullable(Record("a sandbox", SANDBOX), instead={}), {}),
}

HOST_QUEUE: Fields = {
    "queue": Field(Nullable(Record("a queue", QUEUE), instead={}), {}),
    "pool": Field(
        Nullable(
            Record("a host's own pool", {key: field for key, field in POOL.items() if key != "queues"}),
            instead={},
        ),
        {},
    ),
}

BEAT: Fields = {
    "task": Field(_TASK, required=True),
    "schedule": Field(_SCHEDULE, required=True),
    "args": Field(Nullable(Json("a list of arguments", list), instead=[]), []),
    "kwargs": Field(Nullable(Json("a mapping of arguments", dict), instead={}), {}),
    "queue": Field(Nullable(QUEUE_NAME), None),
}

TRACING: Fields = {
    "endpoint": Field(
        Nullable(
            text(
                "an address of a backend for traces",
                r"https?://[^\s/@?#]+(/[^\s?#]*)?",
                "give where it takes OTLP over HTTP, such as http://10.0.0.5:4318; secrets go into celery_tracing_headers",
            )
        ),
        None,
    ),
    "sample_ratio": Field(number("a part of all traces", 0, 1), 1.0),
}

_COMMANDS = Nullable(
    ListOf("commands", text("a command", r"[^\0]*\S[^\0]*", "give a line of sh, such as proj-migrate --all")),
    instead=[],
)
_PATH = Nullable(text("a path", r"[^\0\n]+", "give a path"))

# What must be the same on every host, because all hosts share one broker and one topology.
FLEET: Fields = {
    "celery_app": Field(
        text("an app as module:attribute", rf"{_DOTTED}(:{_DOTTED})?", "write it as proj.celery:app"),
        required=True,
    ),
    "celery_app_source": Field(_PATH, None),
    "celery_app_requirements": Field(_PATH, None),
    "celery_pre_deploy": Field(_COMMANDS, []),
    "celery_post_deploy": Field(_COMMANDS, []),
    "celery_health_task": Field(Nullable(_TASK), None),
    "celery_health_timeout": Field(duration(), "1m"),
    "celery_time_limit": Field(_HARD_LIMIT, "30m"),
    "celery_soft_time_limit": Field(_SOFT_LIMIT, "25m"),
    "celery_retry": Field(_RETRY, {}),
    "celery_max_deliveries": Field(_DELIVERIES, 4),
    "celery_delivery": Field(one_of("a way of delivery", ATOMIC, STOCK), ATOMIC),
    "celery_recovery_timeout": Field(duration(least=5), 60),
    "celery_dead_letter_limit": Field(whole("a number of dead letters", 1, 10_000_000), 10_000),
    "celery_dead_letter_age": Field(duration(least=60), "30d"),
    "celery_task_index_limit": Field(whole("a number of tasks", 0, 10_000_000), 100_000),
    "celery_sensitive_arguments": Field(
        Nullable(ListOf("arguments", _ARGUMENT, distinct=True), instead=[]), SENSITIVE_ARGUMENTS
    ),
    "celery_queues": Field(
        Named("queue", Nullable(Record("a queue", QUEUE), instead={}), QUEUE_NAME), {"celery": {}}
    ),
    "celery_default_queue": Field(QUEUE_NAME, "celery"),
    "celery_task_routes": Field(ListOf("routes", Record("a route", ROUTE)), []),
    "celery_beat_schedule": Field(Named("entry", Record("a beat entry", BEAT), BEAT_NAME), {}),
    "celery_tls": Field(switch("a switch"), False),
    "celery_tracing": Field(Switched(Record("celery_tracing", TRACING)), {}),
    "celery_task_types": Field(Named("type", _TASK, TYPE_NAME), {}),
}

# What each host, or group of hosts, may have its own value for.
HOST: Fields = {
    "celery_environment": Field(Nullable(Environment(), instead={}), {}),
    "celery_worker_pools": Field(
        Named("pool", Record("a pool", POOL), POOL_NAME), {"default": {"queues": ["celery"]}}
    ),
    "celery_host_queue": Field(Switched(Record("a host's own queue", HOST_QUEUE)), False),
    "celery_host_cpus": Field(or_word(AUTO, whole("a number of CPUs", 1, 4096)), AUTO),
    "celery_host_memory": Field(or_word(AUTO, size(64 * MIB)), AUTO),
    "celery_system_reserve": Field(or_word(AUTO, size(0)), AUTO),
    "redis_maxmemory": Field(or_word(AUTO, size(16 * MIB)), AUTO),
}

VARIABLES: Fields = {**FLEET, **HOST}

DEFAULTS: Mapping[str, Any] = MappingProxyType(defaults_of(VARIABLES))
"""The default of every variable that has one, as an inventory would write it."""

QUEUE_DEFAULTS: Mapping[str, Any] = MappingProxyType(defaults_of(QUEUE))
POOL_DEFAULTS: Mapping[str, Any] = MappingProxyType(defaults_of(POOL))
RETRY_DEFAULTS: Mapping[str, Any] = MappingProxyType(defaults_of(RETRY))


def read_variables(
    variables: Mapping[Any, Any], fields: Fields = VARIABLES
) -> tuple[dict[str, Any], list[Problem]]:
    """The known variables in plain form (seconds, bytes), and what is wrong with them and with misspelt ones.

    What is wrong is left out. Variables that are not known and look like none are the user's own.
    """
    found: list[Problem] = []
    given = plain(variables)
    values = {
        name: field.kind.read(given[name], (name,), found) for name, field in fields.items() if name in given
    }
    for name, field in fields.items():
        if field.required and name not in given:
            found.append(Problem((name,), f"{name} is not set", f"set {name}"))
    return {name: value for name, value in values.items() if value is not WRONG}, found


def misspelt_variables(variables: Mapping[Any, Any]) -> list[Problem]:
    """Variables that no role reads and that look like a known one."""
    unknown = [plain(name) for name in variables if isinstance(name, str) and name not in VARIABLES]
    hints = {name: unknown_variable(name, VARIABLES) for name in unknown}
    return [Problem((name,), *hint) for name, hint in hints.items() if hint]
