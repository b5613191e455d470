"""What a cancellation is told as."""

import pytest

from celery_fleet.cli.cancel import told
from celery_fleet.service.cancel import Cancelled


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Cancelled("i", "PENDING", True, ("a",), (), (), True), "cancelled, it will not run"),
        (Cancelled("i", "STARTED", True, ("a",), ("a",), (), True), "ended, by a"),
        (Cancelled("i", "STARTED", True, ("a",), (), (), False), "runs on, and is not run again; --terminate ends it"),
        (
            Cancelled("i", "STARTED", True, ("a",), (), ("a",), False),
            "runs on: the pool of a cannot end it; it is not run again",
        ),
        (Cancelled("i", "SUCCESS", False, (), (), (), False), "over already: SUCCESS"),
        (Cancelled("i", "REVOKED", True, (), (), (), True), "cancelled already"),
    ],
)  # fmt: skip
def test_it_is_said_whether_the_task_runs(answer: Cancelled, text: str) -> None:
    assert told(answer) == text
