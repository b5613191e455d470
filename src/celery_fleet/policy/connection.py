"""How the app reaches Redis: URLs, passwords, time-outs."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from celery_fleet.delivery.keys import unacked_index_key, unacked_key, unacked_mutex_key
from celery_fleet.topology.model import Topology

from .priority import STEPS

_HOUR = 3600
_AUTHORITY = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^:@/?#;]*@)?(?P<rest>[^@]*)", re.IGNORECASE
)


def with_password(url: str, password: str) -> str:
    """The URL (or each of several, separated by semicolons) with the password, unless it has one.

    >>> with_password("redis://worker@10.0.0.1:6379/0", "a/b")
    'redis://worker:a%2Fb@10.0.0.1:6379/0'
    """
    return ";".join(_with_password(part, password) for part in url.split(";"))


def _with_password(url: str, password: str) -> str:
    match = _AUTHORITY.fullmatch(url)
    if not match:  # it has a password, or is no URL
        return url
    user = (match["user"] or "@")[:-1]
    return f"{match['scheme']}{user}:{quote(password, safe='')}@{match['rest']}"


def connection_settings(
    topology: Topology, client_name: str, own_transport_options: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings under which a lost, frozen or restarted Redis is noticed in seconds and outlived.

    A socket that stays silent is dropped after 10 s; reconnecting goes on for ever; what Redis refuses after
    a failover (READONLY) counts as a lost connection; a result that cannot be stored now is stored later.
    `client_name` also names the node that owns what the process claims.
    """
    longest = topology.longest_limit(topology.queues.keys())
    atomic = topology.delivery == "atomic"
    return {
        "broker_connection_retry_on_startup": True,
        "broker_connection_retry": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            **own_transport_options,
            **(_own_unacked(client_name) if atomic else {}),
            "priority_steps": list(STEPS),
            # A task that runs longer than this would be delivered a second time while it runs.
            "visibility_timeout": max(_HOUR, 2 * longest),
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "health_check_interval": 5,
            "client_name": client_name,
        },
        "redis_socket_timeout": 10,
        "redis_socket_connect_timeout": 5,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 5,
        "redis_client_name": client_name,
        "result_backend_always_retry": True,
        # A reconnect delivers running tasks again; the second run is skipped when the first has succeeded.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_deduplicate_successful_tasks": True,
        # Tasks that run on after a reconnect stay delivered, so that their slots are counted already.
        **({"worker_enable_prefetch_count_reduction": False} if atomic else {}),
    }


def _own_unacked(node: str) -> dict[str, str]:
    return {
        "unacked_key": unacked_key(node),
        "unacked_index_key": unacked_index_key(node),
        "unacked_mutex_key": unacked_mutex_key(node),
    }
