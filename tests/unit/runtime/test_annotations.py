"""What the topology says about a task, on the task."""

import pytest
from celery import Celery, Task
from celery.worker.request import Request

from celery_fleet.policy.annotations import TaskAnnotations
from celery_fleet.policy.routing import Router
from celery_fleet.service.request import FleetRequest, fleet_request
from unit.runtime.topologies import make


@pytest.fixture
def app():
    made = Celery(set_as_current=False)
    yield made
    made.close()


def annotated(app, topology=None, own=None):
    app.conf.task_annotations = [TaskAnnotations(topology or make(), fleet_request, own)]
    return app


def plain(app, name, **options):
    def run():
        """Does nothing."""

    return app.task(run, name=name, shared=False, **options)


def test_limits_come_from_the_route_or_the_queue(app):
    annotated(app)
    assert (plain(app, "gather").time_limit, app.tasks["gather"].soft_time_limit) == (600, 540)
    assert (plain(app, "mail.send").time_limit, app.tasks["mail.send"].soft_time_limit) == (60, 50)
    assert (plain(app, "other").time_limit, app.tasks["other"].soft_time_limit) == (1800, 1500)


def test_the_tighter_limit_holds(app):
    annotated(app)
    assert plain(app, "gather", time_limit=100).time_limit == 100
    assert app.tasks["gather"].soft_time_limit is None
    assert plain(app, "other", time_limit=7200, soft_time_limit=20).time_limit == 1800
    assert app.tasks["other"].soft_time_limit == 20


def test_messages_carry_only_the_limits_that_a_call_gives(app, monkeypatch):
    sent = []
    annotated(app).conf.task_ignore_result = True
    app.conf.broker_url = "memory://"
    monkeypatch.setattr(
        app.amqp, "send_task_message", lambda *args, **_: sent.append(args[2].headers["timelimit"])
    )
    plain(app, "gather", serializer="json").delay()
    app.tasks["gather"].apply_async(time_limit=5)
    app.send_task("gather")
    assert sent == [[None, None], [5, None], [None, None]]


def test_what_the_apps_configuration_gives_all_tasks_leaves_the_priority_to_the_queues(app):
    app.conf.update(task_default_priority=5, task_annotations=[TaskAnnotations(make(), default_priority=5)])
    assert plain(app, "one").priority is None


def test_retries_of_the_policy_unless_the_task_says(app):
    topology = make(celery_retry={"max_retries": "forever", "delay": 7})
    annotated(app, topology)
    assert (plain(app, "one").max_retries, app.tasks["one"].default_retry_delay) == (None, 7)
    assert (plain(app, "two", max_retries=3).max_retries, app.tasks["two"].default_retry_delay) == (3, 7)


def test_run_is_wrapped_for_functions_bound_functions_and_classes(app):
    annotated(app)

    @app.task(name="function", shared=False)
    def function(x, y=2):
        """Adds."""
        return x + y

    @app.task(name="bound", bind=True, shared=False)
    def bound(self, x):
        return self.name, x

    class Classy(Task):
        name = "classy"

        def run(self, x):
            return self.name, x

    app.register_task(Classy())
    for name in ("function", "bound", "classy"):
        assert hasattr(app.tasks[name].run, "__wrapped__")
    assert app.tasks["function"](1) == 3
    assert app.tasks["bound"](1) == ("bound", 1)
    assert app.tasks["classy"](1) == ("classy", 1)
    with pytest.raises(TypeError):
        function.apply_async((1, 2, 3, 4))


def test_a_task_that_retries_by_itself_is_not_wrapped(app):
    annotated(app)
    task = plain(app, "own", autoretry_for=(KeyError,))
    assert task.autoretry_for == (KeyError,)
    assert vars(type(app.tasks["own"]))["run"].__func__ is app.tasks["own"]._decorated_fun


def test_the_apps_own_annotations_win(app):
    annotated(app, own={"gather": {"time_limit": 5}, "*": {"rate_limit": "1/s"}})
    assert plain(app, "gather").time_limit == 5
    assert app.tasks["gather"].rate_limit == "1/s"
    assert app.tasks["gather"].soft_time_limit == 540


def test_builtin_tasks_of_celery_only_learn_the_scale_of_priorities(app):
    annotated(app).finalize()
    cleanup = app.tasks["celery.backend_cleanup"]
    assert cleanup.time_limit is None
    assert cleanup.Request == Task.Request
    assert cleanup.signature_from_request.__func__ is not Task.signature_from_request


def test_a_queue_that_the_apps_own_settings_name_gives_its_limits_and_retries(app):
    topology = make(
        celery_task_routes=[],
        celery_queues={"celery": {}, "own": {"time_limit": 1600, "retry": {"max_retries": 7}}},
    )
    router = Router(app, topology, {"report.*": {"queue": "own"}, "odd": "nowhere"})
    app.conf.task_annotations = [TaskAnnotations(topology, settings_for=router.settings_for)]
    assert (plain(app, "report.daily").time_limit, app.tasks["report.daily"].max_retries) == (1600, 7)
    assert plain(app, "odd").time_limit == plain(app, "other").time_limit == 1800


def test_a_task_that_wants_to_be_requeued_is_sent_again_and_counted(app):
    annotated(app)
    task = plain(app, "own", reject_on_worker_lost=True)
    assert (task.reject_on_worker_lost, task.retry_on_worker_lost) == (False, True)


def test_each_task_knows_its_policy(app):
    topology = make(celery_queues={"celery": {"max_deliveries": 2}, "email": {}, "urgent": {}})
    annotated(app, topology)
    assert plain(app, "other").fleet_retries.max_deliveries == 2
    assert plain(app, "mail.send").fleet_retries.max_deliveries == 4
    assert app.tasks["mail.send"].fleet_retries.exceptions == (ConnectionError, TimeoutError)


def test_the_request_class_is_mixed_into_the_tasks_own(app):
    class Own(Request):
        pass

    annotated(app)
    assert issubclass(plain(app, "one").Request, FleetRequest)
    assert plain(app, "two", Request=Own).Request.__mro__[1:3] == (FleetRequest, Own)


def test_an_exception_that_cannot_be_imported_is_refused():
    with pytest.raises(ValueError, match=r"no\.such\.Error"):
        TaskAnnotations(make(celery_retry={"exceptions": ["no.such.Error"]}))
