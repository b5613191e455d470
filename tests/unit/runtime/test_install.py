"""What `install` makes of an app and its environment."""

import json

import pytest
from celery import Celery, signals
from celery.app.defaults import SETTING_KEYS
from celery.schedules import crontab

from celery_fleet.install import InstallError, install, load_app
from celery_fleet.topology.document import as_document
from unit.runtime.topologies import make

BEAT = {
    "each-minute": {"task": "one", "schedule": 60, "args": [1]},
    "each-morning": {"task": "two", "schedule": "30 6  * * mon", "queue": "email"},
}


@pytest.fixture(autouse=True)
def _signals_as_they_were(monkeypatch):
    for name in ("beat_init", "setup_logging", "before_task_publish", "worker_before_create_process"):
        monkeypatch.setattr(getattr(signals, name), "receivers", [])
    for name in (
        "worker_process_init",
        "task_prerun",
        "task_postrun",
        "task_failure",
        "task_retry",
        "task_revoked",
    ):
        monkeypatch.setattr(getattr(signals, name), "receivers", [])


@pytest.fixture
def variables(tmp_path):
    (tmp_path / "topology.json").write_text(json.dumps(as_document(make(celery_beat_schedule=BEAT))))
    (tmp_path / "password").write_text("s3cret\n")
    return {
        "CELERY_FLEET_TOPOLOGY": str(tmp_path / "topology.json"),
        "CELERY_FLEET_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "CELERY_BROKER_URL": "redis://worker@10.0.0.1/0",
        "CELERY_RESULT_BACKEND": "redis://worker@10.0.0.1/1",
    }


@pytest.fixture
def app(monkeypatch, variables):
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, variables[name])
    made = Celery(set_as_current=False)
    yield made
    made.close()


def test_the_password_reaches_broker_and_results_and_nothing_that_is_shown(app, variables):
    install(app, variables)
    assert app.connection_for_read().password == "s3cret"
    assert app.connection_for_write().password == "s3cret"
    assert app.backend.connparams["password"] == "s3cret"
    assert app.backend.connparams["username"] == "worker"
    shown = (app.conf.humanize(), app.connection().as_uri(), app.backend.as_uri(), str(app.conf.table()))
    assert not any("s3cret" in text for text in shown)


def test_settings(app, variables):
    install(app, variables)
    conf = app.conf
    assert conf.task_default_queue == "celery"
    assert [queue.name for queue in conf.task_queues] == ["celery", "email", "urgent"]
    assert conf.accept_content == ["json"]
    assert (conf.task_acks_late, conf.task_retry_on_worker_lost, conf.task_reject_on_worker_lost) == (
        True,
        True,
        False,
    )
    assert (conf.enable_utc, conf.timezone) == (True, "UTC")
    assert conf.task_track_started
    assert conf.worker_prefetch_multiplier == 1
    assert conf.result_expires == 86400
    assert not conf.worker_redirect_stdouts


def test_no_setting_is_one_that_celery_ignores(app, variables):
    before = set(app.conf.changes)
    install(app, variables)
    # Not on the list, but read by the Redis backend.
    read_all_the_same = {"redis_backend_health_check_interval", "redis_client_name"}
    assert set(app.conf.changes) - before <= SETTING_KEYS | read_all_the_same
    assert app.backend.connparams["health_check_interval"] == 5
    assert app.backend.connparams["client_name"].startswith("celery@")


def test_the_apps_own_settings_stay_where_they_are_not_the_fleets_business(app, variables):
    app.conf.update(
        result_expires=60, timezone="Europe/Paris", worker_prefetch_multiplier=4, task_compression="gzip"
    )
    install(app, variables)
    conf = app.conf
    assert (conf.result_expires, conf.timezone, conf.worker_prefetch_multiplier) == (60, "Europe/Paris", 4)
    assert conf.task_compression == "gzip"


def test_beat_gets_the_topologys_entries_beside_the_apps_own(app, variables):
    app.conf.beat_schedule = {"own": {"task": "x", "schedule": 5}}
    install(app, variables)
    schedule = app.conf.beat_schedule
    assert set(schedule) == {"own", "each-minute", "each-morning"}
    assert schedule["each-minute"]["schedule"] == 60.0
    assert schedule["each-minute"]["args"] == (1,)
    assert schedule["each-morning"]["schedule"] == crontab(minute="30", hour="6", day_of_week="mon")
    assert schedule["each-morning"]["options"] == {"queue": "email"}


def test_tasks_that_were_used_before_are_no_exception(app, variables):
    @app.task(name="gather", shared=False)
    def gather():
        """A task."""

    app.finalize()
    assert list(app.amqp.queues) == ["celery"]
    assert gather.time_limit is None
    install(app, variables)
    assert (gather.time_limit, gather.acks_late, gather.track_started) == (600, True, True)
    assert hasattr(gather.run, "__wrapped__")
    assert set(app.amqp.queues) == {"celery", "email", "urgent"}


def test_the_app_still_publishes_to_known_queues_only(app, variables):
    install(app, variables)
    with pytest.raises(Exception, match="nobody"):
        app.send_task("t", queue="nobody")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CELERY_FLEET_TOPOLOGY": ""}, "names no topology"),
        ({"CELERY_FLEET_TOPOLOGY": "/nowhere"}, "/nowhere"),
        ({"CELERY_FLEET_REDIS_PASSWORD_FILE": "/nowhere"}, "/nowhere cannot be read"),
        ({"CELERY_FLEET_REDIS_PASSWORD_FILE": "/dev/null"}, "is empty"),
    ],
)
def test_what_is_not_usable_is_said_in_one_line(app, variables, change, message):
    with pytest.raises(InstallError, match=message) as refused:
        install(app, variables | change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MAX_RETRIES": "many"}, "MAX_RETRIES: 'many' is not a number"),
        ({"INITIAL_RETRY_DELAY": "2h"}, "with INITIAL_RETRY_DELAY of the environment has"),
        ({"CELERY_TASK_PRIORITY_SCALE": "up"}, "CELERY_TASK_PRIORITY_SCALE: 'up' is none of"),
    ],
)
def test_d1_variables_that_cannot_be_used_are_named_in_one_line(app, variables, change, message):
    with pytest.raises(InstallError, match=message) as refused:
        install(app, variables | change)
    assert "\n" not in str(refused.value)


def test_settings_that_celery_would_ignore_are_refused_in_one_line(app, variables, caplog):
    app.conf.update(task_retry_backoff=True, task_owner="me")
    with pytest.raises(
        InstallError, match=r"task_retry_backoff is no setting of Celery.*: set backoff under"
    ) as refused:
        install(app, variables)
    assert "\n" not in str(refused.value)
    del app.conf.changes["task_retry_backoff"]
    install(app, variables)
    assert "no setting of Celery: task_owner" in caplog.text


def test_a_retry_of_celerys_own_tasks_keeps_its_priority_though_they_were_made_before(app, variables):
    app.finalize()
    install(app, variables)
    unlock = app.tasks["celery.chord_unlock"]
    unlock.push_request(id="1", args=[], kwargs={}, delivery_info={"priority": 3}, called_directly=False)
    assert unlock.signature_from_request().options["priority"] == 7


def test_the_kind_of_pool_is_what_the_command_line_says(app, variables):
    app.conf.worker_pool = "threads"
    install(app, variables)
    assert app.conf.worker_pool == "prefork"


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("", "", "CELERY_FLEET_APP names no app"),
        ("", "brokenapp:app", "AttributeError: module 'brokenapp' has no attribute 'app'"),
        (
            "import nowhere",
            "brokenapp",
            r"ModuleNotFoundError: No module named .nowhere. \(.*brokenapp.py, line 1\)",
        ),
        ("x = 1\nraise ValueError('a\\nb')", "brokenapp:app", r"ValueError: a b \(.*brokenapp.py, line 2\)"),
        ("app = 1", "brokenapp:app", "brokenapp:app is a int, not a Celery app"),
        ("x = 1", "brokenapp", "brokenapp"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_said_in_one_line(tmp_path, monkeypatch, source, name, message):
    (tmp_path / "brokenapp.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "brokenapp", raising=False)
    with pytest.raises(InstallError, match=message) as refused:
        load_app(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["goodapp:other", "goodapp"])
def test_an_app_is_found_as_celery_finds_it(tmp_path, monkeypatch, name):
    (tmp_path / "goodapp.py").write_text(
        "from celery import Celery\nother = Celery('found', set_as_current=False)"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "goodapp", raising=False)
    found = load_app(name)
    assert found.main == "found"
    found.close()
