"""What the runtime relies on in Celery and kombu beyond their documentation.

An upgrade that changes any of it fails here.
"""

import inspect

from celery import Celery, beat, signals
from celery._state import get_current_task
from celery.app import trace
from celery.app.amqp import AMQP
from celery.app.annotations import prepare
from celery.app.routes import Router
from celery.app.task import Context, Task
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu import Consumer as MessageConsumer


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_requests_have_the_hooks_that_are_overridden():
    assert parameters(Request.on_failure) == ["self", "exc_info", "send_failed_event", "return_ok"]
    assert parameters(Request.on_timeout) == ["self", "soft", "timeout"]
    assert parameters(Request._retry_worker_lost) == ["self", "exc", "exc_info"]
    source = inspect.getsource(Request.on_failure)
    assert source.index("max_retries_exceeded =") < source.index("self._retry_worker_lost(exc, exc_info)")
    assert isinstance(Task.Request, str)


def test_the_worker_counts_what_the_status_line_shows():
    assert isinstance(state.all_total_count, list)
    assert len(state.active_requests) == 0
    assert state.should_stop is None
    assert state.should_terminate is None


def test_the_main_loop_can_be_asked():
    assert parameters(Consumer.call_soon) == ["self", "p", "args", "kwargs"]
    assert {"queues", "consuming_from"} <= set(dir(MessageConsumer))


def test_a_task_annotates_itself_when_it_is_bound():
    app = Celery(set_as_current=False)
    seen = []

    class Annotations:
        def annotate(self, task):
            seen.append((task.name, task.__bound__, "run" in vars(task)))

    app.conf.task_annotations = [Annotations()]

    @app.task(name="t", shared=False)
    def run():
        """A task."""

    app.finalize()
    app.close()
    assert ("t", True, True) in seen
    assert prepare(None) == ()


def test_the_loss_of_a_process_reaches_the_next_message_through_headers():
    context = Context({"id": "1", "lang": "py", "fleet_lost": 2})
    assert context.headers == {"fleet_lost": 2}
    assert context.as_execution_options()["headers"] == {"fleet_lost": 2}


def test_a_retry_leaves_its_limit_on_the_task():
    assert "self.override_max_retries = max_retries" in inspect.getsource(Task.retry)


def test_urls_for_reading_and_writing_come_before_the_environment(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://environment/0")
    app = Celery(set_as_current=False)
    app.conf.broker_read_url = app.conf.broker_write_url = "redis://w:secret@configured/0"
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection()):
        assert (connection.hostname, connection.password) == ("configured", "secret")
    assert "secret" not in str(app.conf.table())
    app.close()


def test_what_is_made_before_the_installation_is_cached_where_it_is_renewed():
    app = Celery(set_as_current=False)
    assert isinstance(app.amqp, AMQP)
    assert "amqp" in vars(app)
    assert callable(Router.query_router)
    app.close()


def test_beat_shows_its_ticks_and_its_connection():
    service = beat.Service(Celery(set_as_current=False), scheduler_cls=beat.Scheduler)
    assert service._last_tick is None
    assert not {"connection", "producer"} & set(vars(service.scheduler))
    assert inspect.getsource(beat.Service.start).count("self._last_tick = time.monotonic()") == 2
    assert "signals.beat_init.send(sender=self)" in inspect.getsource(beat.Service.start)


def test_celery_logs_the_ends_of_tasks_by_these_texts():
    for name in ("LOG_SUCCESS", "LOG_FAILURE", "LOG_REJECTED", "LOG_RETRY"):
        assert getattr(trace, name) in inspect.getsource(trace)


def test_signals_are_sent_while_the_task_is_current():
    source = inspect.getsource(trace.build_tracer)
    assert (
        source.index("push_request(task_request)")
        < source.index("send_prerun(")
        < source.index("send_postrun(")
    )
    assert source.index("send_postrun(") < source.index("pop_request()")
    assert get_current_task() is None
    assert signals.worker_before_create_process
