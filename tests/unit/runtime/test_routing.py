"""Which queue and priority a task gets."""

import pytest
from celery import Celery
from celery._state import _task_stack

from celery_fleet.policy.priority import broker_priority
from celery_fleet.policy.routing import Router, task_queues
from unit.runtime.topologies import make


@pytest.fixture
def app():
    made = Celery(set_as_current=False)
    yield made
    made.close()


def test_people_count_up_and_redis_counts_down():
    assert [broker_priority(priority) for priority in (1, 5, 10)] == [9, 5, 0]


@pytest.mark.parametrize("priority", [0, 11])
def test_other_priorities_are_refused(priority):
    with pytest.raises(ValueError, match=str(priority)):
        broker_priority(priority)


def test_queues():
    queues = task_queues(make())
    assert [(queue.name, queue.exchange.type, queue.routing_key) for queue in queues] == [
        ("celery", "direct", "celery"),
        ("email", "direct", "email"),
        ("urgent", "direct", "urgent"),
    ]


@pytest.mark.parametrize(
    ("task", "queue", "priority"),
    [
        ("mail.send", "email", 3),
        ("mail.now", "urgent", 10),  # the first route that matches
        ("gather", "celery", 8),
        ("anything", "celery", 5),
        ("MAIL.send", "celery", 5),
    ],
)
def test_routes(app, task, queue, priority):
    assert Router(app, make())(task, (), {}, {}) == {"queue": queue, "priority": broker_priority(priority)}


def test_a_queue_that_the_caller_names_gives_its_priority(app):
    assert Router(app, make())("anything", (), {}, {"queue": "urgent"})["priority"] == broker_priority(10)
    assert Router(app, make())("gather", (), {}, {"queue": "celery"})["priority"] == broker_priority(8)


def test_the_apps_own_routes_come_after_the_topologys(app):
    own = {"report.*": {"queue": "urgent"}, "mail.*": {"queue": "urgent"}, "low.*": {"priority": 9}}
    router = Router(app, make(), own)
    assert router("report.daily", (), {}, {}) == {"queue": "urgent", "priority": broker_priority(10)}
    assert router("mail.send", (), {}, {}) == {"queue": "email", "priority": broker_priority(3)}
    assert router("low.task", (), {}, {}) == {"queue": "celery", "priority": 9}


def test_an_own_route_may_be_a_function(app):
    def own(name, args, kwargs, options, task=None):
        return "urgent" if name == "one" else None

    router = Router(app, make(), own)
    assert router("one", (), {}, {})["queue"] == "urgent"
    assert router("two", (), {}, {})["queue"] == "celery"


def test_a_task_that_a_task_sends_inherits_its_priority(app):
    @app.task(name="parent", shared=False)
    def parent():
        return Router(app, make())("mail.send", (), {}, {})

    parent.push_request(delivery_info={"priority": 1}, called_directly=False)
    _task_stack.push(app.tasks["parent"])
    try:
        assert parent.run() == {"queue": "email", "priority": 1}
    finally:
        _task_stack.pop()
