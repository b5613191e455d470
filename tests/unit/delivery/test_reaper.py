"""Which nodes are taken for dead."""

import pytest

from celery_fleet.delivery.lease import LeaseInfo
from celery_fleet.delivery.process import Process
from celery_fleet.delivery.reaper import Observer

PROCESS = Process("h", "m", "b", "ns", 1, 1)


def lease(node: str, beat: int, token: str = "t") -> LeaseInfo:
    return LeaseInfo(node, token, PROCESS, beat, 0.0, b"")


@pytest.fixture
def observer():
    return Observer("me", timeout=10, gap=5)


def looks(observer, *rounds):
    """The dead of the last look; each round: (second, beat of the node `other`)."""
    for now, beat in rounds:
        dead = observer.look([lease("me", 0), lease("other", beat)], now)
    return [each.node for each in dead]


def test_a_node_without_a_sign_of_life_is_dead(observer):
    assert looks(observer, (100, 1), (104, 1), (108, 1)) == []
    assert looks(observer, (110, 1)) == ["other"]


def test_a_node_that_beats_lives_however_long(observer):
    assert looks(observer, *((100 + 4 * n, n) for n in range(50))) == []


def test_the_observer_does_not_judge_itself(observer):
    for now in range(0, 60, 4):
        assert observer.look([lease("me", 0)], float(now)) == []


def test_after_a_pause_everything_is_seen_anew(observer):
    assert looks(observer, (100, 1), (104, 1), (120, 1)) == []
    assert looks(observer, (124, 1), (128, 1), (130, 1)) == ["other"]


def test_after_an_outage_of_the_broker_everything_is_seen_anew(observer):
    looks(observer, (100, 1), (104, 1), (108, 1))
    observer.forget()
    assert looks(observer, (110, 1)) == []


def test_a_new_owner_of_a_name_is_seen_anew(observer):
    looks(observer, (100, 1), (104, 1), (108, 1))
    assert observer.look([lease("other", 1, "another")], 110) == []
