"""Tasks that are sent again: where to (P5), with which priority, after which delay, and how often (A5)."""

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import MaxRetriesExceededError, Reject, Retry
from kombu.exceptions import OperationalError

from celery_fleet.policy.annotations import TaskAnnotations
from celery_fleet.policy.priority import SCALES
from celery_fleet.policy.routing import Router, task_queues
from celery_fleet.store.headers import SINCE
from unit.runtime.topologies import make

QUEUES = {"celery": {}, "again": {}, "other": {}}
POLICY = {"max_retries": 3, "delay": 5, "backoff": 2, "max_delay": 15, "jitter": False}


@pytest.fixture
def app(monkeypatch):
    """An app whose messages are kept instead of sent: app.sent is a list of (options, headers, body)."""
    made = Celery("t", broker="memory://", set_as_current=False)
    made.sent = []

    def keep(producer, name, message, **options):
        made.sent.append((options, message.headers, message.body))

    configure(made)
    monkeypatch.setattr(made.amqp, "send_task_message", keep)
    yield made
    made.close()


def configure(app, retry=POLICY, scale="fleet"):
    topology = make(celery_queues=QUEUES, celery_task_routes=[], celery_retry=retry)
    app.conf.update(
        task_queues=task_queues(topology),
        task_create_missing_queues=False,
        task_routes=[Router(app, topology, scale=SCALES[scale])],
        task_annotations=[TaskAnnotations(topology, scale=SCALES[scale])],
    )


def running(app, carried=2, retries=0, headers=None, queue="celery", **options):
    """A task as it runs in a worker, from a message with this priority on the broker's scale."""

    name = f"t{len(app.tasks)}"

    @app.task(name=name, bind=True, shared=False, **options)
    def run(self):
        """Does nothing."""

    task = app.tasks[name]
    info = {"priority": carried, "exchange": "", "routing_key": queue, "redelivered": False}
    task.push_request(
        id="1",
        args=[],
        kwargs={},
        retries=retries,
        headers=headers,
        delivery_info=info,
        called_directly=False,
    )
    return task


def sent(app):
    """(queue, priority on the broker's scale) of what was sent last."""
    options = app.sent[-1][0]
    return options["queue"].name, options["priority"]


@pytest.mark.parametrize("scale", ["fleet", "celery"])
@pytest.mark.parametrize("carried", [0, 2, 9])
def test_a_retry_keeps_the_priority_of_its_message_whatever_the_scale(app, carried, scale):
    configure(app, scale=scale)
    task = running(app, carried)
    with pytest.raises(Retry):
        task.retry()
    assert sent(app) == ("celery", carried)


def test_a_signature_of_a_retry_is_on_the_scale_of_people(app):
    signature = running(app, carried=2).signature_from_request()
    assert signature.options["priority"] == 8
    signature.apply_async()
    signature.apply_async()
    assert [options["priority"] for options, *_ in app.sent] == [2, 2]


def test_a_retry_may_say_its_priority(app):
    with pytest.raises(Retry):
        running(app).retry(priority=10)
    assert sent(app) == ("celery", 0)


def test_p5_retries_go_to_the_queue_of_the_policy_and_stay_there(app):
    configure(app, {**POLICY, "queue": "again"})
    for queue in ("celery", "again"):
        with pytest.raises(Retry):
            running(app, queue=queue).retry()
        assert sent(app) == ("again", 2)


def test_p5_the_code_may_name_another_queue(app):
    configure(app, {**POLICY, "queue": "again"})
    with pytest.raises(Retry):
        running(app).retry(queue="other")
    assert sent(app) == ("other", 2)


def test_p5_is_off_by_default(app):
    with pytest.raises(Retry):
        running(app, queue="other").retry()
    assert sent(app) == ("other", 2)


@pytest.mark.parametrize(("retries", "delay"), [(0, 5), (1, 10), (2, 15)])
def test_the_codes_own_retry_waits_as_the_policy_says(app, retries, delay):
    with pytest.raises(Retry) as told:
        running(app, retries=retries).retry()
    assert told.value.when == delay
    assert app.sent[-1][1]["retries"] == retries + 1


def test_a5_what_the_code_says_holds(app):
    with pytest.raises(Retry) as told:
        running(app, retries=2, max_retries=9).retry(countdown=60)
    assert told.value.when == 60
    with pytest.raises(Retry) as told:
        running(app, retries=9).retry(max_retries=10)
    with pytest.raises(Retry) as told:
        running(app, retries=1, default_retry_delay=7).retry()
    assert told.value.when == 7


@pytest.mark.parametrize(
    ("policy", "change"),
    [({}, {"retries": 3}), ({"max_retries": "forever", "max_age": 60}, {"headers": {SINCE: 1.0}})],
)
def test_the_codes_own_retry_ends_with_the_policy(app, policy, change):
    configure(app, POLICY | policy)
    task = running(app, **change)
    with pytest.raises(MaxRetriesExceededError):
        task.retry()
    with pytest.raises(KeyError):
        task.retry(exc=KeyError("own"))
    assert not hasattr(task, "override_max_retries")
    assert not app.sent


def test_a_retry_that_cannot_be_published_goes_back_to_the_queue(app, monkeypatch):
    def fail(*_, **__):
        raise OperationalError("redis is gone")

    monkeypatch.setattr(app.amqp, "send_task_message", fail)
    with pytest.raises(Reject) as refused:
        running(app).retry()
    assert refused.value.requeue


def test_annotating_a_task_again_changes_nothing(app):
    task = running(app)
    for name, value in app.conf.task_annotations[0].annotate(type(task)).items():
        setattr(type(task), name, value)
    with pytest.raises(Retry) as told:
        task.retry()
    assert (sent(app), told.value.when) == (("celery", 2), 5)


def test_a_retry_in_the_main_process_is_made_from_the_request_alone(app):
    task = running(app)
    context = Context(
        {
            "id": "9",
            "args": [],
            "kwargs": {},
            "delivery_info": {"priority": 4, "exchange": "", "routing_key": "other"},
        }
    )
    task.signature_from_request(context, countdown=1, retries=1).apply_async()
    assert sent(app) == ("other", 4)
    assert app.sent[-1][1]["id"] == "9"
