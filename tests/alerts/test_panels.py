"""What panels show of faults only was there while the faults of the tests before this one were."""

from __future__ import annotations

import os

import pytest

from acceptance.application import FAIL
from acceptance.waiting import eventually
from alerts.faults import Stage
from alerts.sink import Sink
from celery_fleet.panels import DASHBOARDS
from celery_fleet.panels.queries import expressions
from monitors import prometheus_of

NEVER_HERE = {"`celery_delivery: stock`"}
"""What fills them is nothing that this fleet has."""

RETRIED_WITHIN = 180.0
"""Seconds: a retry waits, and a rate wants two looks."""


@pytest.mark.skipif(os.environ.get("ALERTS") != "all", reason="the short form has not all of the faults")
def test_what_is_empty_when_healthy_is_filled_by_faults(stage: Stage, sink: Sink) -> None:
    stage.app.send(FAIL, "default", how="transient")  # is tried again
    wanted = [
        (place, expr) for place, expr, fault in expressions(DASHBOARDS) if fault and fault not in NEVER_HERE
    ]
    prometheus = prometheus_of(stage.fleet)

    def empty() -> list[str]:
        had = prometheus.had((expr for _, expr in wanted), sink.began)
        return [f"{place}: {expr}" for (place, expr), filled in zip(wanted, had, strict=True) if not filled]

    eventually(empty, "every query had data", RETRIED_WITHIN, until=lambda left: not left)
