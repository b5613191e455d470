"""Which settings Celery has, what it does with those that it has not, and what annotations can do."""

import re

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS, find

NO_SETTINGS = re.findall(
    r"\w+",
    """
    task_time_limits task_soft_time_limits task_autoretry_for task_dont_autoretry_for task_retry_kwargs
    task_retry_backoff task_retry_backoff_max task_retry_jitter task_max_retries task_default_retry_delay
    task_priority task_dead_letter_queue worker_autoscale worker_queues visibility_timeout
    """,
)
SETTINGS = re.findall(
    r"\w+",
    """
    beat_max_loop_interval beat_schedule broker_channel_error_retry broker_connection_max_retries
    broker_connection_retry broker_connection_retry_on_startup broker_read_url broker_transport_options
    broker_write_url redis_password redis_socket_connect_timeout redis_socket_keepalive
    redis_socket_timeout result_backend_always_retry result_expires task_acks_late task_acks_on_failure
    task_acks_on_timeout task_annotations task_create_missing_queues task_default_priority
    task_default_queue task_inherit_parent_priority task_queues task_reject_on_worker_lost
    task_retry_on_worker_lost task_routes task_soft_time_limit task_time_limit task_track_started
    worker_cancel_long_running_tasks_on_connection_loss worker_deduplicate_successful_tasks
    worker_lost_wait worker_max_memory_per_child worker_prefetch_multiplier worker_redirect_stdouts
    worker_soft_shutdown_timeout
    """,
)


@pytest.fixture
def app():
    app = Celery("settings", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    app.close()


@pytest.mark.parametrize("name", NO_SETTINGS)
def test_names_that_are_no_settings_are_ignored(app, name):
    """The documents' names are accepted and do nothing. policy refuses them by name."""
    assert name not in SETTING_KEYS
    app.conf.update({name: 1})
    assert app.conf[name] == 1

    @app.task(name="t", shared=False)
    def task():
        """A task."""

    assert (task.time_limit, task.soft_time_limit, task.max_retries, task.default_retry_delay) == (
        *(None, None, 3, 180),
    )
    assert getattr(task, "autoretry_for", None) is None


@pytest.mark.parametrize("name", SETTINGS)
def test_names_that_are_settings(name):
    """What install and policy.connection set is known to Celery, or to its Redis backend."""
    assert name in SETTING_KEYS or find(name)


def test_the_backend_reads_settings_that_no_list_has(app):
    """policy.connection sets them: a list of known names alone would refuse them."""
    settings = {"redis_backend_health_check_interval": 7, "redis_client_name": "me"}
    assert not set(settings) & set(SETTING_KEYS)
    app.conf.update(result_backend="redis://127.0.0.1:1/0", **settings)
    assert app.backend.connparams["health_check_interval"] == 7
    assert app.backend.connparams["client_name"] == "me"


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("time_limit", 11),
        ("soft_time_limit", 10),
        ("max_retries", 7),
        ("default_retry_delay", 5),
        ("acks_late", True),
        ("reject_on_worker_lost", True),
        ("retry_on_worker_lost", True),
        ("rate_limit", "5/s"),
    ],
)
def test_annotations_set_the_attributes_of_tasks(app, attribute, value):
    """The way by which the topology reaches tasks that know nothing of it: policy.annotations."""
    app.conf.task_annotations = {"t": {attribute: value}}

    @app.task(name="t", shared=False)
    def task():
        """A task."""

    assert getattr(task, attribute) == value


def test_annotations_make_a_task_retry(app):
    """Tasks are annotated before `autoretry_for` is looked at."""
    app.conf.task_annotations = {"t": {"autoretry_for": (ValueError,)}}

    @app.task(name="t", shared=False)
    def task():
        """A task."""

    assert hasattr(task, "_orig_run")


def test_a_message_without_priority_is_sent_without_one(app):
    """`task_default_priority` is None, which Redis takes for the first. policy.routing gives each task one."""
    assert app.conf.task_default_priority is None


def test_reject_and_retry_on_worker_lost_are_off_by_default(app):
    """A lost process fails its task, unless install says otherwise."""
    assert not app.conf.task_reject_on_worker_lost
    assert not app.conf.task_retry_on_worker_lost


def test_children_of_prefork_are_lost_after_ten_seconds(app):
    """`worker_lost_wait`: how long a dead child's task may still be told of by its pipe."""
    assert app.conf.worker_lost_wait == 10.0
