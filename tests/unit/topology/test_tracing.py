"""Where the traces of a fleet go."""

from typing import Any

import pytest

from celery_fleet.topology import Traces, traces


@pytest.mark.parametrize(
    ("setting", "own", "found"),
    [
        ({}, None, None),
        ({}, "http://10.0.0.5:4318", Traces("http://10.0.0.5:4318", 1.0)),
        (True, "http://10.0.0.5:4318", Traces("http://10.0.0.5:4318", 1.0)),
        (False, "http://10.0.0.5:4318", None),
        ({"endpoint": "https://else.example/otlp"}, None, Traces("https://else.example/otlp", 1.0)),
        (
            {"endpoint": "https://else.example", "sample_ratio": "0.1"},
            "http://10.0.0.5:4318",
            Traces("https://else.example", 0.1),
        ),
        ({"sample_ratio": 0}, "http://10.0.0.5:4318", Traces("http://10.0.0.5:4318", 0.0)),
    ],
)
def test_they_go_where_there_is_somebody_to_take_them(
    setting: Any, own: str | None, found: Traces | None
) -> None:
    assert traces({"celery_app": "a:b", "celery_tracing": setting}, own) == found


def test_a_fleet_does_not_trace_by_itself() -> None:
    assert traces({"celery_app": "a:b"}, None) is None
