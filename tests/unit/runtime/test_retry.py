"""When a failed task is tried again: C3, D1, P4."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from hypothesis import given
from hypothesis import strategies as st

from celery_fleet.policy.retry import (
    Retries,
    age,
    exception_classes,
    losses,
    may_retry,
    retry_delay,
    retrying,
    stamp_since,
)
from celery_fleet.store.headers import LOST, SINCE
from celery_fleet.topology.model import RetryPolicy

POLICY = RetryPolicy(
    max_retries=3,
    delay=60,
    backoff=2.0,
    max_delay=600,
    jitter=False,
    exceptions=("ConnectionError",),
    max_age=None,
)

policies = st.builds(
    RetryPolicy,
    max_retries=st.none() | st.integers(0, 1_000_000),
    delay=st.integers(0, 100_000),
    backoff=st.floats(1, 1000),
    max_delay=st.integers(0, 100_000),
    jitter=st.booleans(),
    exceptions=st.just(()),
    max_age=st.none() | st.integers(1, 1_000_000),
)


def test_c3_delays_grow_to_the_cap():
    assert [retry_delay(POLICY, retries) for retries in range(6)] == [60, 120, 240, 480, 600, 600]


def test_c3_jitter_keeps_the_delays_at_about_60_120_and_240_s():
    jittered = replace(POLICY, jitter=True)
    lowest = [retry_delay(jittered, retries, lambda low, _: low) for retries in range(3)]
    highest = [retry_delay(jittered, retries, lambda _, high: high) for retries in range(3)]
    assert (lowest, highest) == ([45, 90, 180], [60, 120, 240])
    assert [may_retry(POLICY, retries, 0) for retries in range(4)] == [True, True, True, False]


def test_d1_delays_are_5_10_and_20_s():
    policy = replace(POLICY, delay=5, max_delay=3600)
    assert [retry_delay(policy, retries) for retries in range(3)] == [5, 10, 20]


def test_p4_a_task_is_retried_for_ever_with_growing_delays():
    forever = replace(POLICY, max_retries=None, delay=1, max_delay=3600)
    assert [retry_delay(forever, retries) for retries in (0, 5, 11, 12, 100_000)] == [1, 32, 2048, 3600, 3600]
    assert may_retry(forever, 100_000, 1e9)


@given(policies, st.integers(0, 2_000_000))
def test_a_delay_is_never_negative_nor_above_the_cap(policy, retries):
    assert 0 <= retry_delay(policy, retries) <= policy.max_delay


@given(policies, st.integers(0, 2_000_000))
def test_jitter_takes_at_most_a_quarter_off(policy, retries):
    exact = retry_delay(replace(policy, jitter=False), retries)
    assert 0.75 * exact <= retry_delay(replace(policy, jitter=True), retries) <= exact


@given(policies, st.integers(0, 1000))
def test_without_jitter_delays_never_shrink(policy, retries):
    steady = replace(policy, jitter=False)
    assert retry_delay(steady, retries) <= retry_delay(steady, retries + 1)


@pytest.mark.parametrize(
    ("change", "retries", "age", "expected"),
    [
        ({}, 0, 0, True),
        ({}, 2, 1e9, True),
        ({}, 3, 0, False),
        ({"max_retries": 0}, 0, 0, False),
        ({"max_retries": None}, 1_000_000, 1e9, True),
        ({"max_retries": None, "max_age": 60}, 5, 59, True),
        ({"max_retries": None, "max_age": 60}, 5, 60, False),
    ],
)
def test_may_retry(change, retries, age, expected):
    assert may_retry(replace(POLICY, **change), retries, age) is expected


def test_exceptions_by_name():
    found = exception_classes(("TimeoutError", "celery.exceptions.SoftTimeLimitExceeded"))
    assert [each.__name__ for each in found] == ["TimeoutError", "SoftTimeLimitExceeded"]


@pytest.mark.parametrize(
    "name", ["Nothing", "no.such.module.Error", "celery.exceptions.Nothing", "os.path", "print"]
)
def test_what_is_no_exception_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        exception_classes((name,))


def test_a_message_notes_when_it_is_first_due():
    headers = {"eta": "2026-01-01T00:00:00+00:00"}
    stamp_since(headers=headers)
    assert headers[SINCE] == 1767225600
    stamp_since(headers=headers | {"eta": None})
    assert headers[SINCE] == 1767225600


@pytest.fixture
def task():
    """A task whose `run` is retried by a policy, as it is in a worker; its retries are not published."""
    app = Celery(set_as_current=False)

    @app.task(name="t", shared=False)
    def run(error=None):
        if error:
            raise error
        return "done"

    app.tasks["t"].push_request(id="1", retries=0, called_directly=False, headers=None, delivery_info={})
    yield app.tasks["t"]
    app.close()


def attempt(task, policy=POLICY, exceptions=(ConnectionError,)):
    return retrying(type(task).__dict__["run"].__func__, lambda: task, Retries(policy, exceptions, 4))


def retried(task, monkeypatch, outcome=None):
    calls = []

    def retry(**options):
        calls.append(options)
        task.override_max_retries = options["max_retries"]
        raise outcome or Retry(exc=options["exc"])

    monkeypatch.setattr(task, "retry", retry)
    return calls


def test_success_is_left_alone(task):
    assert attempt(task)() == "done"


def test_a_listed_exception_is_retried_with_the_delay_of_the_policy(task, monkeypatch):
    calls = retried(task, monkeypatch)
    error = ConnectionRefusedError("no")
    task.request.retries = 2
    with pytest.raises(Retry):
        attempt(task)(error)
    assert calls == [{"exc": error, "countdown": 240, "max_retries": 3}]
    assert not hasattr(task, "override_max_retries")


@pytest.mark.parametrize("error", [ValueError("x"), Ignore(), Reject("x"), Retry("x")])
def test_other_exceptions_and_decisions_of_the_task_pass(task, monkeypatch, error):
    calls = retried(task, monkeypatch)
    with pytest.raises(type(error)):
        attempt(task)(error)
    assert not calls


def test_decisions_of_the_task_pass_even_when_every_exception_is_retried(task, monkeypatch):
    calls = retried(task, monkeypatch)
    with pytest.raises(Ignore):
        attempt(task, exceptions=(Exception,))(Ignore())
    assert not calls


@pytest.mark.parametrize(
    "request_change",
    [{"retries": 3}, {"called_directly": True}, {"headers": {SINCE: 1.0}}],
)
def test_the_exception_itself_when_it_may_not_be_retried(task, monkeypatch, request_change):
    calls = retried(task, monkeypatch)
    task.request.update(request_change)
    with pytest.raises(ConnectionError):
        attempt(task, replace(POLICY, max_age=3600))(ConnectionError())
    assert not calls


TIME_LIMITS = [
    "TimeoutError",
    "celery.exceptions.TimeoutError",
    "celery.exceptions.SoftTimeLimitExceeded",
    "celery.exceptions.TimeLimitExceeded",
    "OSError",
    "Exception",
]


@pytest.mark.parametrize("name", TIME_LIMITS)
def test_p4_a_time_limit_is_retried_by_a_policy_that_names_any_kind_of_time_out(task, monkeypatch, name):
    calls = retried(task, monkeypatch)
    exceptions = exception_classes((name,))
    assert Retries(POLICY, exceptions, 4).time_limits
    with pytest.raises(Retry):
        attempt(task, exceptions=exceptions)(SoftTimeLimitExceeded())
    assert calls[0]["countdown"] == 60


@pytest.mark.parametrize("name", ["ConnectionError", "ValueError"])
def test_a_time_limit_is_a_failure_for_other_policies(task, monkeypatch, name):
    calls = retried(task, monkeypatch)
    exceptions = exception_classes((name,))
    assert not Retries(POLICY, exceptions, 4).time_limits
    with pytest.raises(SoftTimeLimitExceeded):
        attempt(task, exceptions=exceptions)(SoftTimeLimitExceeded())
    assert not calls


def test_age_and_losses_are_read_from_the_headers_of_the_message():
    assert (age(None), losses(None)) == (0.0, 0)
    assert age({SINCE: 1.0}) > 1e9
    assert losses({LOST: 2}) == 2


def test_a_policy_is_exhausted_by_what_was_retried():
    policy = Retries(replace(POLICY, max_age=60), (), 4)
    context = {"headers": None, "retries": 3}
    assert policy.exhausted_by(SimpleNamespace(**context))
    assert not policy.exhausted_by(SimpleNamespace(**{**context, "retries": 2}))
    assert policy.exhausted_by(SimpleNamespace(headers={SINCE: 1.0}, retries=1))
    assert not policy.exhausted_by(SimpleNamespace(headers={SINCE: 1.0}, retries=0))
