"""Variables of the environment that change the topology of one process: D1, F5, P4, P5."""

import pytest

from celery_fleet.policy.priority import SCALES
from celery_fleet.policy.variables import priority_scale, with_variables
from unit.runtime.topologies import QUEUES, make

DLQ = "CELERY_ENABLE_PROMGEN_DEAD_LETTER_QUEUE"


def test_without_them_the_topology_stays():
    topology = make()
    assert with_variables(topology, {"PATH": "/bin", "MAX_RETRIES": ""}) is topology


def test_d1_variables_are_the_retry_policy_of_all_queues():
    changed = with_variables(
        make(),
        {
            "MAX_RETRIES": "5",
            "INITIAL_RETRY_DELAY": "5",
            "RETRY_BACKOFF_MULTIPLIER": "2.5",
            "MAX_RETRY_DELAY": "3600",
        },
    )
    for name in ("mail.send", "gather", "other"):
        retry = changed.settings_for(name).retry
        assert (retry.max_retries, retry.delay, retry.backoff, retry.max_delay) == (5, 5, 2.5, 3600)
        assert retry.exceptions == ("ConnectionError", "TimeoutError")


def test_p4_the_soft_limit_is_that_of_the_environment_unless_a_route_has_its_own():
    changed = with_variables(make(), {"CELERY_TASK_SOFT_TIME_LIMIT": "30"})
    limits = {name: changed.settings_for(name).soft_time_limit for name in ("mail.send", "gather", "other")}
    assert limits == {"mail.send": 30, "gather": 540, "other": 30}


def test_f5_limits():
    changed = with_variables(
        make(celery_task_routes=[]),
        {"CELERY_TASK_TIME_LIMIT": "3600", "CELERY_TASK_SOFT_TIME_LIMIT": "3300"},
    )
    assert {
        (queue.settings.time_limit, queue.settings.soft_time_limit) for queue in changed.queues.values()
    } == {(3600, 3300)}


@pytest.mark.parametrize(
    ("value", "queue"), [("true", "promgen_dlq"), ("True", "promgen_dlq"), ("false", None)]
)
def test_p5_the_switch_of_the_document(value, queue):
    changed = with_variables(make(celery_queues={**QUEUES, "promgen_dlq": {}}), {DLQ: value})
    assert changed.settings_for("mail.send").retry.queue == queue


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MAX_RETRIES": "many"}, r"MAX_RETRIES: 'many' is not a number of retries"),
        ({"INITIAL_RETRY_DELAY": "-5"}, "INITIAL_RETRY_DELAY"),
        ({"RETRY_BACKOFF_MULTIPLIER": "0.5"}, "RETRY_BACKOFF_MULTIPLIER.*from 1"),
        ({"MAX_RETRY_DELAY": "1y"}, "MAX_RETRY_DELAY"),
        ({"CELERY_TASK_SOFT_TIME_LIMIT": "soon"}, "CELERY_TASK_SOFT_TIME_LIMIT"),
        ({DLQ: "perhaps"}, DLQ),
        ({DLQ: "true"}, f"with {DLQ} of the environment.*promgen_dlq.* is not defined"),
        ({"INITIAL_RETRY_DELAY": "700"}, "with INITIAL_RETRY_DELAY of the environment.*max_delay"),
        ({"CELERY_TASK_TIME_LIMIT": "20"}, "with CELERY_TASK_TIME_LIMIT of the environment.*soft_time_limit"),
    ],
)
def test_what_cannot_be_used_is_named(variables, message):
    with pytest.raises(ValueError, match="(?s)" + message):
        with_variables(make(), variables)


def test_the_scale_of_priorities():
    assert priority_scale({}) is SCALES["fleet"]
    assert priority_scale({"CELERY_TASK_PRIORITY_SCALE": "celery"}) is SCALES["celery"]
    with pytest.raises(ValueError, match="CELERY_TASK_PRIORITY_SCALE: 'rabbit' is none of fleet, celery"):
        priority_scale({"CELERY_TASK_PRIORITY_SCALE": "rabbit"})
