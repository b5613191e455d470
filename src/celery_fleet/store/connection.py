"""Clients for the fleet's data in Redis, made from what an app knows about its broker."""

import os
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from weakref import WeakKeyDictionary

import redis
from celery import Celery
from kombu.connection import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

STATE_DATABASE = 2
"""The database of dead letters, index and audit, on the server of the broker."""

_ANSWER_TIME, _CONNECT_TIME = 2.0, 2.0
"""Seconds that Redis has for an answer: the main loop of a worker may wait for it."""

_REDIS_PORT, _SENTINEL_PORT = 6379, 26379

_clients: MutableMapping[Celery, dict[tuple[object, ...], "redis.Redis"]] = WeakKeyDictionary()
_state_urls: MutableMapping[Celery, str] = WeakKeyDictionary()


def use_state_url(app: Celery, url: str) -> None:
    """The fleet state of this app is at this URL (with its password), not beside the broker's database."""
    _state_urls[app] = url


def state_client(app: Celery) -> "redis.Redis":
    """The client of this process for the fleet state; answers and refusals come within seconds."""
    url = _state_urls.get(app)
    return _client(app, url, None if url else STATE_DATABASE)


def own_state_client(app: Celery) -> "redis.Redis":
    """A client for the fleet state that is nobody else's: for a thread that shares no connection."""
    url = _state_urls.get(app)
    return make_client(app.connection_for_write(url), None if url else STATE_DATABASE)


def broker_client(app: Celery) -> "redis.Redis":
    """The client of this process for the broker's database, beside kombu's own connections."""
    return _client(app, None, None)


def key_prefix(app: Celery) -> str:
    """What all keys of the app begin with (the transport option `global_keyprefix`)."""
    return str(app.conf.broker_transport_options.get("global_keyprefix", ""))


def _client(app: Celery, url: str | None, database: int | None) -> "redis.Redis":
    """One for each process: a child must not use the connections of its parent."""
    clients = _clients.setdefault(app, {})
    key = (os.getpid(), url, database)
    if key not in clients:
        clients[key] = make_client(app.connection_for_write(url), database)
    return clients[key]


def make_client(connection: Connection, database: int | None = None) -> "redis.Redis":
    """A client as kombu would make it for the connection; `database` overrides that of its URL.

    A command whose connection turns out to be closed is sent once more: what it is used for can be repeated.
    """
    options = connection.transport_options or {}
    common: dict[str, Any] = {
        "username": connection.userid,
        "password": connection.password,
        "socket_timeout": _ANSWER_TIME,
        "client_name": options.get("client_name"),
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        "protocol": 2,
    }
    tcp: dict[str, Any] = {"socket_connect_timeout": _CONNECT_TIME, "socket_keepalive": True}
    if isinstance(connection.ssl, dict):
        tcp |= {"ssl": True, **connection.ssl}
    if database is None:
        database = _database(connection)
    sentinels = [urlsplit(url) for url in connection.alt or [] if url.startswith("sentinel://")]
    if sentinels or connection.transport_cls == "sentinel":
        return _master(connection, sentinels, options, {**common, **tcp, "db": database})
    hostname = str(connection.hostname or "127.0.0.1")
    if "://" in hostname:  # redis+socket:///path?virtual_host=0
        parts = urlsplit(hostname)
        common |= {"username": parts.username, "password": parts.password and unquote(parts.password)}
        return redis.Redis(unix_socket_path=parts.path, db=database, **common)
    return redis.Redis(host=hostname, port=connection.port or _REDIS_PORT, db=database, **common, **tcp)


def _master(
    connection: Connection, sentinels: list[SplitResult], options: dict[str, Any], arguments: dict[str, Any]
) -> "redis.Redis":
    addresses = [(each.hostname, each.port or _SENTINEL_PORT) for each in sentinels]
    found = Sentinel(  # type: ignore[no-untyped-call]
        addresses or [(connection.hostname, connection.port or _SENTINEL_PORT)],
        min_other_sentinels=options.get("min_other_sentinels", 0),
        sentinel_kwargs=options.get("sentinel_kwargs"),
        **arguments,
    )
    client: redis.Redis = found.master_for(options["master_name"])  # type: ignore[no-untyped-call]
    return client


def _database(connection: Connection) -> int:
    """As kombu reads it: `/`, `/3` or `3`; a socket has it as an argument."""
    _, _, query = str(connection.hostname).partition("?")
    asked = parse_qs(query).get("virtual_host", [connection.virtual_host])[0]
    return int(str(asked or "0").strip("/") or 0)
