"""Which workers are recovered, and which are refused."""

import pytest

from celery_fleet.cli.exits import Problem
from celery_fleet.cli.recover import choose
from celery_fleet.survey.roster import FRESH, Lease

LEASES = [Lease("a@1", "1", 7, 0.5), Lease("b@2", "2", 7, FRESH + 1)]


def test_named_workers() -> None:
    assert choose(["b@2", "c@3", "b@2"], LEASES, ["c@3"]) == ["b@2", "c@3"]


def test_all_that_are_dead() -> None:
    assert choose([], LEASES, ["a@1", "b@2", "c@3"]) == ["b@2", "c@3"]


def test_who_lives_is_refused() -> None:
    with pytest.raises(Problem, match="a@1 is alive: process 7 on 1"):
        choose(["b@2", "a@1"], LEASES, ["a@1"])


def test_who_is_not_known_is_refused() -> None:
    with pytest.raises(Problem, match="no worker c@3"):
        choose(["c@3"], LEASES, [])
