"""Names that people write where they have no effect, and what they meant."""

import difflib
from collections.abc import Collection

from .problem import listed, show

_LIMIT = "set time_limit and soft_time_limit of a queue, of a route, or celery_time_limit for the fleet"
_RETRY = "set {key} under retry of the queue or the route, or under celery_retry"
_POOL = "set {key} of a pool in celery_worker_pools"

# Settings of Celery, and names that only look like them: the fleet has its own place for each.
CELERY_SETTINGS = {
    "task_time_limit": _LIMIT,
    "task_soft_time_limit": _LIMIT,
    "task_time_limits": _LIMIT,
    "task_soft_time_limits": _LIMIT,
    "task_max_retries": _RETRY.format(key="max_retries"),
    "task_default_retry_delay": _RETRY.format(key="delay"),
    "task_retry_backoff": _RETRY.format(key="backoff"),
    "task_retry_backoff_max": _RETRY.format(key="max_delay"),
    "task_retry_jitter": _RETRY.format(key="jitter"),
    "task_retry_kwargs": _RETRY.format(key="max_retries and delay"),
    "task_autoretry_for": _RETRY.format(key="exceptions"),
    "task_annotations": "set the limits and the retry policy of a route in celery_task_routes",
    "task_priority": "set priority of a queue or a route",
    "task_default_priority": "set priority of the queue",
    "task_queue_max_priority": "leave it out: every queue has the priorities 1 to 10",
    "task_queues": "use celery_queues",
    "task_default_queue": "use celery_default_queue",
    "task_routes": "use celery_task_routes",
    "task_dead_letter_queue": "leave it out: Celery on Redis has no such setting",
    "task_acks_late": "leave it out: acknowledgement is always late",
    "task_reject_on_worker_lost": "leave it out: a task whose process dies is retried, a bounded number of times",
    "worker_concurrency": _POOL.format(key="concurrency"),
    "worker_autoscale": _POOL.format(key="autoscale"),
    "worker_pool": _POOL.format(key="kind"),
    "worker_prefetch_multiplier": _POOL.format(key="prefetch_multiplier"),
    "worker_max_tasks_per_child": _POOL.format(key="max_tasks_per_child"),
    "worker_max_memory_per_child": _POOL.format(key="memory_per_child"),
    "worker_soft_shutdown_timeout": _POOL.format(key="stop_policy and stop_timeout"),
    "worker_queues": _POOL.format(key="queues"),
    "broker_url": "leave it out: the address follows from the redis group",
    "result_backend": "leave it out: the address follows from the redis group",
    "beat_schedule": "use celery_beat_schedule",
    "visibility_timeout": "leave it out: the fleet derives it from the longest time limit",
}

# Names of options and of other systems.
_MEANT = {
    "acks_late": CELERY_SETTINGS["task_acks_late"],
    "autoretry_for": CELERY_SETTINGS["task_autoretry_for"],
    "default_retry_delay": CELERY_SETTINGS["task_default_retry_delay"],
    "env": "did you mean environment?",
    "exchange": "leave it out: Redis has no exchanges, a route names its queue",
    "loglevel": "did you mean log_level?",
    "max_memory_per_child": "did you mean memory_per_child? It takes a size such as 512M",
    "max_priority": CELERY_SETTINGS["task_queue_max_priority"],
    "max_retries": CELERY_SETTINGS["task_max_retries"],
    "pool": "did you mean kind?",
    "prefetch": "did you mean prefetch_multiplier?",
    "retry_backoff": CELERY_SETTINGS["task_retry_backoff"],
    "retry_backoff_max": CELERY_SETTINGS["task_retry_backoff_max"],
    "retry_jitter": CELERY_SETTINGS["task_retry_jitter"],
    "routing_key": "leave it out: Redis has no routing keys, a route names its queue",
    "soft_time_limit": _LIMIT,
    "time_limit": _LIMIT,
    "x-max-priority": CELERY_SETTINGS["task_queue_max_priority"],
}

_VARIABLES_MEANT = {
    "celery_concurrency": "did you mean concurrency of a pool in celery_worker_pools?",
    "celery_env": "did you mean celery_environment?",
    "celery_pools": "did you mean celery_worker_pools?",
    "celery_retry_policy": "did you mean celery_retry?",
    "celery_routes": "did you mean celery_task_routes?",
    "celery_schedule": "did you mean celery_beat_schedule?",
    "celery_workers": "did you mean celery_worker_pools?",
}

# Users and roles have variables of their own: only a slip of the pen is taken for a known name.
_SLIP = 0.92
_UNREAD = "nothing reads a variable of this name"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A remedy for a name that is not among `known`: the nearest one, else all of them."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {listed(sorted(known))}"


def unknown_key(key: str, noun: str, known: Collection[str]) -> tuple[str, str]:
    """(what, remedy) for a key that `noun` does not have."""
    setting = key.lower().removeprefix("celery_")
    if setting in CELERY_SETTINGS:
        return f"{setting!r} is a setting of Celery that would be ignored here", CELERY_SETTINGS[setting]
    return f"{show(key)} is not a setting of {noun}", _MEANT.get(key.lower()) or did_you_mean(key, known)


def unknown_variable(name: str, known: Collection[str]) -> tuple[str, str] | None:
    """(what, remedy) when a variable looks like a known one that was misspelt, else None."""
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_SLIP)
    if near:
        return _UNREAD, f"did you mean {near[0]}?"
    if name in _VARIABLES_MEANT:
        return _UNREAD, _VARIABLES_MEANT[name]
    prefix, _, setting = name.lower().partition("_")
    if prefix == "celery" and setting in CELERY_SETTINGS:
        return f"{setting!r} is a setting of Celery that no variable sets", CELERY_SETTINGS[setting]
    return None
