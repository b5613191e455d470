"""Which queue and priority a task gets: F2, F3, F4."""

import pytest
from celery import Celery
from celery._state import _task_stack

from celery_fleet.policy.priority import SCALES, broker_priority, fleet_priority
from celery_fleet.policy.routing import Router, task_queues
from unit.runtime.topologies import make


@pytest.fixture
def app():
    made = Celery(set_as_current=False)
    yield made
    made.close()


def test_people_count_up_and_redis_counts_down():
    assert [broker_priority(priority) for priority in (1, 5, 10)] == [9, 5, 0]


def test_what_a_message_carries_is_read_back():
    assert [fleet_priority(broker_priority(priority)) for priority in range(1, 11)] == list(range(1, 11))
    assert [fleet_priority(carried) for carried in (-1, 12)] == [10, 1]


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
    assert router("low.task", (), {}, {}) == {"queue": "celery", "priority": broker_priority(9)}


def test_an_own_route_may_be_a_function(app):
    def own(name, args, kwargs, options, task=None):
        return "urgent" if name == "one" else None

    router = Router(app, make(), own)
    assert router("one", (), {}, {})["queue"] == "urgent"
    assert router("two", (), {}, {})["queue"] == "celery"


def test_f2_a_caller_says_1_to_10_and_it_is_translated_once(app):
    router, options = Router(app, make()), {"priority": 9, "queue": "urgent"}
    assert router("mail.send", (), {}, options)["priority"] == broker_priority(9)
    assert options == {"queue": "urgent"}


@pytest.mark.parametrize("priority", [0, 11, -1])
def test_a_priority_that_is_not_on_the_scale_is_refused_with_what_to_do(app, priority):
    with pytest.raises(
        ValueError, match=r"mail.send: .* is not a priority .*CELERY_TASK_PRIORITY_SCALE=celery"
    ):
        Router(app, make())("mail.send", (), {}, {"priority": priority})


def test_celery_sends_tasks_of_its_own_with_0(app):
    assert Router(app, make())("celery.chord_unlock", (), {}, {"priority": 0})["priority"] == 9


@pytest.mark.parametrize(("given", "carried"), [(0, 0), (9, 9), (12, 9)])
def test_an_app_may_count_as_celery_does(app, given, carried):
    router = Router(app, make(), {"own": {"priority": 2}}, SCALES["celery"])
    assert router("mail.send", (), {}, {"priority": given})["priority"] == carried
    assert router("own", (), {}, {})["priority"] == 2
    assert router("mail.send", (), {}, {})["priority"] == broker_priority(3)


@pytest.fixture
def sender(app):
    """A task that runs, with priority 9."""

    @app.task(name="parent", shared=False)
    def parent():
        """Sends tasks."""

    parent.push_request(delivery_info={"priority": broker_priority(9)}, called_directly=False)
    _task_stack.push(app.tasks["parent"])
    yield parent
    _task_stack.pop()


def test_f3_a_task_that_a_task_sends_inherits_its_priority(app, sender):
    router = Router(app, make(), {"own": {"priority": 2}})
    assert router("mail.send", (), {}, {}) == {"queue": "email", "priority": broker_priority(9)}
    assert router("own", (), {}, {})["priority"] == broker_priority(9)


def test_f2_a_caller_overrides_what_would_be_inherited(app, sender):
    assert Router(app, make())("mail.send", (), {}, {"priority": 2})["priority"] == broker_priority(2)
