"""Dead letters as people may see them: without what the inventory marks as sensitive."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from celery_fleet.topology.discretion import HIDDEN, Discretion

from .deadletters import DeadLetter, call_of


def kept(letter: DeadLetter, rules: Discretion, names: Sequence[str] = ()) -> DeadLetter:
    """The letter as it is stored: what is sensitive is in its message alone, which a retry needs."""
    return replace(discreet(letter, rules, names), message=letter.message)


def discreet(letter: DeadLetter, rules: Discretion, names: Sequence[str] = ()) -> DeadLetter:
    """The letter as it is shown. `names`: those of the task's parameters, as far as they are known."""
    sent = call_of(letter.message) if letter.message else (None, None)
    call = rules.call(letter.name, letter.args, letter.kwargs, queue=letter.queue, names=names)
    of_message = rules.call(letter.name, *sent, queue=letter.queue, names=names)
    unread = letter.message and sent == (None, None)
    message = _without_body(letter.message, of_message) if of_message.hides else letter.message
    if unread:  # nobody knows what is where
        message = HIDDEN if rules.covers(letter.name, letter.queue) else rules.text(letter.message)
    return replace(
        letter,
        args=call.args,
        kwargs=call.kwargs,
        message=message,
        error=of_message.scrub(call.scrub(letter.error)),
        traceback=of_message.scrub(call.scrub(letter.traceback)),
    )


def _without_body(message: str, shown: Any) -> str:
    envelope = json.loads(message)
    headers = {**envelope["headers"], "argsrepr": repr(shown.args), "kwargsrepr": repr(shown.kwargs)}
    properties = {
        name: value
        for name, value in envelope.get("properties", {}).items()
        if name not in ("argsrepr", "kwargsrepr")
    }
    return json.dumps({**envelope, "body": HIDDEN, "headers": headers, "properties": properties})
