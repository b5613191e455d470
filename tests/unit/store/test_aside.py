import json

import pytest
from celery.worker.consumer import Consumer
from kombu.message import Message

from celery_fleet.service.aside import SetAside, flaw

TASK = {"task": "app.a", "id": "t1", "retries": 0, "timelimit": [None, None]}
CALL = [[1], {"a": 1}, {"chord": None}]


def message(body, headers=TASK, content_type="application/json"):
    return Message(
        body=json.dumps(body), headers=headers, content_type=content_type, content_encoding="utf-8"
    )


@pytest.mark.parametrize(
    "fine",
    [
        message(CALL),
        message([[], {}, None]),
        message(CALL, {**TASK, "timelimit": [3, 2.5], "retries": None}),
        message({"args": [1], "kwargs": {}}),
        message({"task": "app.a", "id": "t1", "args": [], "kwargs": {}}, {}),
        # Celery tells of these itself.
        message({"hello": 1}, {}),
        message(CALL, content_type="application/x-python-serialize"),
        Message(body="{", headers=TASK, content_type="application/json", content_encoding="utf-8"),
    ],
)
def test_no_flaw(fine):
    assert flaw(fine) == ""


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (message(7), "body"),
        (message(None), "body"),
        (message([[], {}]), "body"),
        (message([[], {}, 7]), "embed"),
        (message([7, {}, {}]), "args"),
        (message(["args", {}, {}]), "args"),
        (message([[], [], {}]), "kwargs"),
        (message(CALL, {**TASK, "id": None}), "id"),
        (message(CALL, {"task": "app.a"}), "id"),
        (message(CALL, {**TASK, "task": ["x"]}), "name"),
        (message(CALL, {**TASK, "retries": "1"}), "retries"),
        (message(CALL, {**TASK, "timelimit": 7}), "timelimit"),
        (message(CALL, {**TASK, "timelimit": ["1", "2"]}), "timelimit"),
        (message({"task": "app.a", "args": [], "kwargs": {}}, {}), "id"),
        (message({"task": "app.a", "id": "t1", "args": 7}, {}), "args"),
    ],
)
def test_flaws(bad, what):
    assert what in flaw(bad)


def test_what_is_wrapped_is_there():
    """Celery's consumer has these handlers, and asks itself for them when it begins to consume."""

    class Plain:
        on_decode_error = on_unknown_message = on_unknown_task = on_invalid_task = create_task_handler = None

    for name in vars(Plain):
        if not name.startswith("_"):
            assert callable(getattr(Consumer, name)), name
    used = Consumer.create_task_handler.__code__.co_names
    assert {"on_unknown_message", "on_unknown_task", "on_invalid_task"} <= set(used)
    plain = Plain()
    SetAside(plain)
    assert all(callable(getattr(plain, name)) for name in vars(plain))
    assert len(vars(plain)) == 5
