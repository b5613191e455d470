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
        (
            Cancelled("i", "STARTED", True, ("a",), (), ("a",), False, unable_kinds=("threads",)),
            "runs on: the pool of a (threads) cannot end it; it is not run again",
        ),
        (Cancelled("i", "PENDING", True, (), (), (), True, removed=True), "taken out of its queue, it will not run"),
        (
            Cancelled("i", "PENDING", False, (), (), (), False, known=False),
            "no such task is known: it was never sent, or is long over",
        ),
        (Cancelled("i", "SUCCESS", False, (), (), (), False), "over already: SUCCESS"),
        (Cancelled("i", "REVOKED", True, (), (), (), True), "cancelled already"),
    ],
)  # fmt: skip
def test_it_is_said_whether_the_task_runs(answer: Cancelled, text: str) -> None:
    assert told(answer) == text
