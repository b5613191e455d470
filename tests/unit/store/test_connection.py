import os
import ssl

import pytest
import redis
from celery import Celery
from kombu.connection import Connection

from celery_fleet.store import connection
from celery_fleet.store.connection import broker_client, key_prefix, make_client, state_client, use_state_url


def arguments(client):
    return client.connection_pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "127.0.0.1", "port": 6379, "db": 0}),
        (
            "redis://worker:a%2Fb@10.0.0.1:6380/3",
            {"host": "10.0.0.1", "port": 6380, "db": 3, "username": "worker", "password": "a/b"},
        ),
        ("redis+socket:///run/redis.sock?virtual_host=4", {"path": "/run/redis.sock", "db": 4}),
        (
            "redis+socket://u:p%2F@/run/redis.sock",
            {"path": "/run/redis.sock", "db": 0, "username": "u", "password": "p/"},
        ),
        (
            "rediss://:pw@h/1?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
            {"host": "h", "db": 1, "ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"},
        ),
    ],
)
def test_a_client_as_kombu_would_make_it(url, expected):
    client = make_client(Connection(url, transport_options={"client_name": "me"}))
    found = arguments(client)
    assert expected.items() <= found.items()
    assert found["client_name"] == "me"
    assert 0 < found["socket_timeout"] <= 5
    is_tls = client.connection_pool.connection_class is redis.SSLConnection
    assert is_tls == url.startswith("rediss")


def test_the_master_that_the_sentinels_name():
    urls = "sentinel://u:p@a:26379/0;sentinel://b/0"
    options = {"master_name": "m", "sentinel_kwargs": {"password": "s"}}
    client = make_client(Connection(urls, transport_options=options), database=2)
    pool = client.connection_pool
    assert pool.service_name == "m"
    addresses = [
        (arguments(each)["host"], arguments(each)["port"]) for each in pool.sentinel_manager.sentinels
    ]
    assert addresses == [("a", 26379), ("b", 26379)]
    assert {"db": 2, "username": "u", "password": "p"}.items() <= arguments(client).items()


@pytest.fixture
def app():
    app = Celery("x", broker="redis://worker:pw@h:7/0", set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "p:"}
    return app


def test_the_state_is_beside_the_broker_or_where_its_url_says(app):
    assert arguments(broker_client(app))["db"] == 0
    assert {"host": "h", "port": 7, "db": 2, "password": "pw"}.items() <= arguments(state_client(app)).items()
    use_state_url(app, "redis://:other@s:8/5")
    assert {"host": "s", "port": 8, "db": 5, "password": "other"}.items() <= arguments(
        state_client(app)
    ).items()
    assert key_prefix(app) == "p:"


def test_a_client_belongs_to_its_process(app, monkeypatch):
    first = state_client(app)
    assert state_client(app) is first
    assert broker_client(app) is not first
    monkeypatch.setattr(connection.os, "getpid", os.getppid)
    assert state_client(app) is not first
