"""How the app reaches Redis."""

import pytest

from celery_fleet.policy.connection import connection_settings, with_password
from unit.runtime.topologies import make


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://worker@h:6379/0", "redis://worker:p%2Fw@h:6379/0"),
        ("redis://h:6379/0", "redis://:p%2Fw@h:6379/0"),
        (
            "rediss://w@[::1]:6379/0?ssl_cert_reqs=required",
            "rediss://w:p%2Fw@[::1]:6379/0?ssl_cert_reqs=required",
        ),
        ("redis://w:own@h/0", "redis://w:own@h/0"),
        ("sentinel://w@a:1/0;sentinel://w@b:1/0", "sentinel://w:p%2Fw@a:1/0;sentinel://w:p%2Fw@b:1/0"),
        (
            "redis+socket://w@/run/redis.sock?virtual_host=1",
            "redis+socket://w:p%2Fw@/run/redis.sock?virtual_host=1",
        ),
        ("memory", "memory"),
    ],
)
def test_a_password_goes_where_none_is(url, expected):
    assert with_password(url, "p/w") == expected


def test_no_running_task_is_delivered_again_by_time():
    settings = connection_settings(make(celery_time_limit="3h", celery_soft_time_limit=None), "x", {})
    assert settings["broker_transport_options"]["visibility_timeout"] >= 2 * 3 * 3600


def test_own_transport_options_stay_unless_the_fleet_depends_on_them():
    options = connection_settings(make(), "x", {"master_name": "m", "priority_steps": [0]})[
        "broker_transport_options"
    ]
    assert options["master_name"] == "m"
    assert options["priority_steps"] == list(range(10))


def test_each_node_has_the_messages_that_it_claims_to_itself():
    settings = connection_settings(make(), "pool@host", {})
    options = settings["broker_transport_options"]
    assert options["unacked_key"] == "unacked:pool@host"
    assert options["unacked_index_key"] == "unacked_index:pool@host"
    assert settings["worker_enable_prefetch_count_reduction"] is False


def test_stock_delivery_leaves_the_keys_to_kombu():
    settings = connection_settings(make(celery_delivery="stock"), "pool@host", {})
    assert not [name for name in settings["broker_transport_options"] if name.startswith("unacked")]
    assert "worker_enable_prefetch_count_reduction" not in settings
