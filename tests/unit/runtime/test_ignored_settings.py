"""Names in an app's configuration that Celery would ignore without a word."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS

from celery_fleet.policy.settings import ignored_settings


@pytest.fixture
def app():
    made = Celery(set_as_current=False)
    yield made
    made.close()


NONE_OF_CELERYS = [
    "task_time_limits",
    "task_soft_time_limits",
    "task_autoretry_for",
    "task_dont_autoretry_for",
    "task_retry_kwargs",
    "task_retry_backoff",
    "task_retry_backoff_max",
    "task_retry_jitter",
    "task_max_retries",
    "task_default_retry_delay",
    "task_priority",
    "task_dead_letter_queue",
    "worker_autoscale",
    "worker_queues",
    "visibility_timeout",
]


@pytest.mark.parametrize("name", NONE_OF_CELERYS)
def test_settings_that_people_believe_in_are_refused_with_a_remedy(app, name):
    assert name not in SETTING_KEYS
    app.conf[name] = 1
    (mistaken,), suspicious = ignored_settings(app)
    assert mistaken.startswith(f"{name} is no setting of Celery, which would ignore it: ")
    assert not suspicious


def test_a_slip_of_the_pen_is_refused(app):
    app.conf.worker_prefetch_multiplyer = 1
    assert ignored_settings(app)[0][0].endswith("did you mean worker_prefetch_multiplier?")


def test_what_only_looks_like_a_setting_is_mentioned(app):
    app.conf.update(task_owner="me", beat_me=1, redbeat_lock_timeout=3, my_own=2)
    assert ignored_settings(app) == ([], ["beat_me", "task_owner"])


def test_true_settings_pass(app):
    app.conf.update(dict.fromkeys(SETTING_KEYS - {"broker_url"}, None))
    assert ignored_settings(app) == ([], [])


@pytest.fixture
def settings(monkeypatch):
    module = ModuleType("own_settings")
    monkeypatch.setitem(sys.modules, "own_settings", module)
    return module


def test_of_django_only_its_own_names_are_looked_at(app, settings):
    settings.CELERY_TASK_MAX_RETRIES = 3
    settings.CELERY_TASK_TIME_LIMIT = 3
    settings.VISIBILITY_TIMEOUT = settings.TIME_ZONE = settings.task_priority = 1
    app.config_from_object("own_settings", namespace="CELERY")
    mistaken, suspicious = ignored_settings(app)
    assert [each.split()[0] for each in mistaken] == ["task_max_retries"]
    assert not suspicious


def test_settings_of_old_and_objects_with_more_in_them(app, settings):
    settings.CELERY_TASK_SERIALIZER = "json"
    settings.CELERYD_CONCURRENCY = 2
    settings.BROKER_URL = "redis://"
    settings.helper = SimpleNamespace()
    settings.TASK_PRIORITY = "of another program"
    app.config_from_object("own_settings")
    assert ignored_settings(app) == ([], [])
