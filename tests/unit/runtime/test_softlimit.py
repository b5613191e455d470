"""Soft time limits under gevent."""

from types import SimpleNamespace

import gevent
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from celery_fleet.policy.softlimit import softly_limited, under_gevent


def limited(run, soft_time_limit=None, timelimit=None, called_directly=False):
    request = SimpleNamespace(timelimit=timelimit, called_directly=called_directly)
    return softly_limited(run, lambda: SimpleNamespace(request=request, soft_time_limit=soft_time_limit))


@pytest.mark.parametrize(
    "limits", [{"soft_time_limit": 0.02}, {"soft_time_limit": 60, "timelimit": [90, 0.02]}]
)
def test_p4_it_is_raised_in_the_task(limits):
    with pytest.raises(SoftTimeLimitExceeded):
        limited(gevent.sleep, **limits)(30)


@pytest.mark.parametrize(
    "limits", [{}, {"soft_time_limit": 0.02, "called_directly": True}, {"soft_time_limit": 60}]
)
def test_what_has_no_limit_or_keeps_it_is_left_alone(limits):
    def run(seconds):
        gevent.sleep(seconds)
        return "done"

    assert limited(run, **limits)(0.05) == "done"


def test_threads_and_processes_are_not_concerned():
    assert not under_gevent()
