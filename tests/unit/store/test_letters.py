import base64
import json

import pytest

from celery_fleet.store.deadletters import letter_of

ENVELOPE = {
    "body": base64.b64encode(json.dumps([[1, "x"], {"a": None}, {}]).encode()).decode(),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {
        "task": "app.work",
        "id": "t1",
        "retries": 2,
        "root_id": "r",
        "parent_id": None,
        "fleet_since": 100.5,
        "fleet_lost": 3,
        "fleet_origin": "t0",
        "traceparent": "00-abc-def-01",
    },
    "properties": {
        "body_encoding": "base64",
        "priority": 4,
        "delivery_tag": "tag",
        "delivery_info": {"exchange": "", "routing_key": "email"},
    },
}


def test_the_letter_of_a_task():
    raw = json.dumps(ENVELOPE)
    letter = letter_of(raw, reason="poison", error="died", worker="w")
    found = (letter.task_id, letter.name, letter.queue, letter.args, letter.kwargs, letter.reason)
    assert found == ("t1", "app.work", "email", [1, "x"], {"a": None}, "poison")
    assert (letter.attempts, letter.losses, letter.since, letter.priority) == (3, 3, 100.5, 4)
    assert (letter.root_id, letter.parent_id, letter.origin, letter.trace_id) == ("r", "", "t0", "abc")
    assert (letter.error, letter.worker, letter.message) == ("died", "w", raw)
    assert letter_of(raw, reason="failed", queue="other", args=[9]).queue == "other"


@pytest.mark.parametrize(
    "change",
    [
        {"body": "?"},
        {"body": base64.b64encode(b"{").decode()},
        {"body": base64.b64encode(b"\xff").decode()},
        {"body": base64.b64encode(b"7").decode()},
        {"body": None},
        {"content-type": "application/x-python-serialize"},
    ],
)
def test_arguments_that_cannot_be_read(change):
    letter = letter_of(json.dumps(ENVELOPE | change), reason="undecodable")
    assert (letter.task_id, letter.args, letter.kwargs) == ("t1", None, None)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "no JSON",
        "7",
        "[]",
        '{"headers": 7, "properties": []}',
        '{"headers": {"id": 7, "task": [1], "retries": "x", "fleet_lost": true}, "properties": {"delivery_info": 1}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_message_of_kombu(raw):
    letter = letter_of(raw, reason="undecodable")
    assert letter.task_id == letter_of(raw, reason="invalid").task_id
    assert letter.task_id.startswith("message-")
    assert (letter.name, letter.queue, letter.attempts, letter.losses) == ("", "", 1, 0)


def test_a_message_without_a_task_is_known_by_its_tag():
    headers = {"headers": {}}
    assert letter_of(json.dumps(ENVELOPE | headers), reason="invalid").task_id == "message-tag"
