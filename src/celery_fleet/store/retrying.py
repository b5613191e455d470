"""Dead letters tried again: the same task under a new id, once however many ask for it at once."""

import base64
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from celery import Celery
from celery.app.amqp import task_message
from kombu.compression import decompress
from kombu.entity import Exchange, Queue

from .deadletters import Claim, DeadLetter, DeadLetters, RetryError
from .headers import LOST, ORIGIN, SINCE

_OF_THE_ATTEMPT = frozenset({LOST, SINCE, "redelivered", "compression"})
"""Headers that the new task does not take over."""


@dataclass(frozen=True)
class Retried:
    """What a bulk retry did: the new ids by the old, and why the others were not retried."""

    done: dict[str, str]
    refused: dict[str, str]


def retry(
    app: Celery, letters: DeadLetters, task_id: str, by: str, *, queue: str = "", force: bool = False
) -> str:
    """Publishes the task of the letter again and returns its new id; `by`: who asks for it.

    Same arguments, queue (unless another is given), priority, callbacks and chain. The new id follows from
    the old one and the number of earlier retries, so that whoever comes after a crash publishes the same
    task, marked as delivered again: a worker does not repeat it when it has succeeded. A message that nobody
    could decode is sent again as it was; the answer is then its letter's id with `#` and a number.
    Raises RetryError, redis.RedisError, kombu's OperationalError.
    """
    claim = letters.claim(task_id, force)
    try:
        letter = letters.get(task_id)
        if letter is None:
            raise RetryError(task_id, "missing")
        new_id = _publish(app, letter, claim, queue or letter.queue)
    except BaseException:
        letters.release(claim)
        raise
    letters.settle(claim, new_id, by)
    return new_id


def retry_many(app: Celery, letters: DeadLetters, ids: Iterable[str], by: str) -> Retried:
    """Retries each; what is refused does not stop the others. Raises redis.RedisError, OperationalError."""
    done: dict[str, str] = {}
    refused: dict[str, str] = {}
    for task_id in ids:
        try:
            done[task_id] = retry(app, letters, task_id, by)
        except RetryError as error:
            refused[task_id] = str(error)
    return Retried(done, refused)


def next_id(claim: Claim) -> str:
    """The id of the task that the holder of the claim publishes."""
    return str(uuid5(NAMESPACE_URL, f"fleet:dead:{claim.task_id}:{claim.retries}"))


def _publish(app: Celery, letter: DeadLetter, claim: Claim, queue: str) -> str:
    envelope = _envelope(letter.message)
    if envelope is None:
        _push_raw(app, letter.message, queue)
        return f"{letter.task_id}#{claim.retries + 1}"
    headers, properties = envelope["headers"], envelope["properties"]
    options: dict[str, Any] = {
        name: properties[name]
        for name in ("priority", "reply_to", "delivery_mode")
        if properties.get(name) is not None
    }
    if claim.again:
        options["delivery_info"] = {"redelivered": True}
    call = _call(envelope)
    if call is None:
        _publish_raw(app, envelope, queue, options)
        return f"{letter.task_id}#{claim.retries + 1}"
    new_id = next_id(claim)
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_ATTEMPT}
    message = task_message(
        headers=kept
        | {"id": new_id, "root_id": headers.get("root_id") or letter.task_id, "retries": 0}
        | dict.fromkeys(("eta", "expires", "group", "group_index"))
        | {ORIGIN: letter.task_id, SINCE: time.time()},
        properties={"correlation_id": new_id},
        body=call,
        sent_event=None,
    )
    with app.producer_or_acquire() as producer:
        app.amqp.send_task_message(
            producer,
            headers["task"],
            message,
            queue=Queue(queue, Exchange(""), routing_key=queue),  # type: ignore[no-untyped-call]
            declare=[],  # it may be a queue that only others know
            serializer="json",
            **options,
        )
    return new_id


def _envelope(message: str) -> dict[str, Any] | None:
    """What kombu puts into a queue, or None for what is something else."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("body"), str):
        return None
    parts = [found.get("headers"), found.get("properties")]
    return found if all(isinstance(part, dict) for part in parts) else None


def _bytes(envelope: dict[str, Any]) -> bytes:
    body: str = envelope["body"]
    if envelope["properties"].get("body_encoding") == "base64":
        with suppress(ValueError):  # it says so and is not: sent again as it came
            return base64.b64decode(body)
    return body.encode()


def _call(envelope: dict[str, Any]) -> tuple[Any, Any, Any] | None:
    """[args, kwargs, embed] of a task's body; None when it is no task, or one in another language.

    Without its chord: the group has been told of the failure, and does not count the task again.
    """
    if not isinstance(envelope["headers"].get("task"), str):
        return None
    if envelope.get("content-type") != "application/json":
        return None
    body, compression = _bytes(envelope), envelope["headers"].get("compression")
    try:
        # Not kombu's decoder: what it would make of special values must be encoded again as it is.
        if compression:
            body = decompress(body, compression)  # type: ignore[no-untyped-call]
        args, kwargs, embed = json.loads(body)
        return args, kwargs, {**(embed or {}), "chord": None}
    except Exception:  # whatever a codec may raise
        return None


def _publish_raw(app: Celery, envelope: dict[str, Any], queue: str, options: dict[str, Any]) -> None:
    with app.producer_or_acquire() as producer:
        producer.publish(
            _bytes(envelope),
            exchange="",
            routing_key=queue,
            content_type=envelope.get("content-type") or "application/data",
            content_encoding=envelope.get("content-encoding") or "binary",
            headers=envelope["headers"],
            compression="",  # it is, if it was
            retry=True,
            retry_policy=app.conf.task_publish_retry_policy,
            **options,
        )


def _push_raw(app: Celery, message: str, queue: str) -> None:
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.client.lpush(channel._q_for_pri(queue, 0), message.encode(errors="surrogateescape"))
