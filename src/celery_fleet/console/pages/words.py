"""What pages of tasks write for people: values, messages, sentences. Pure functions."""

import json
from contextlib import suppress
from typing import Any

_WIDTH = 100
_DEPTH = 30


def pretty(value: Any, depth: int = 0) -> str:
    """JSON with a line for each part that does not fit one; short values share lines.

    >>> pretty([1, "ä"]), pretty(None)
    ('[1, "ä"]', 'null')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _WIDTH or not isinstance(value, dict | list | tuple) or depth > _DEPTH:
        return text
    if isinstance(value, dict):
        names = [json.dumps(str(name), ensure_ascii=False) for name in value]
        parts = [
            f"{name}: {pretty(each, depth + 1)}" for name, each in zip(names, value.values(), strict=True)
        ]
        return _lines("{", parts, "}", depth)
    parts = [pretty(each, depth + 1) for each in value]
    plain = not any(isinstance(each, dict | list | tuple) for each in value)
    return _lines("[", _packed(parts) if plain else parts, "]", depth)


def _lines(begin: str, parts: list[str], end: str, depth: int) -> str:
    inner = "\n" + "  " * (depth + 1)
    return begin + inner + f",{inner}".join(parts) + "\n" + "  " * depth + end


def _packed(parts: list[str]) -> list[str]:
    """Several in a line."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + len(part) + 2 <= _WIDTH:
            found[-1] += f", {part}"
        else:
            found.append(part)
    return found


def readable(message: str) -> str:
    """A message of a queue: JSON in lines, and a JSON body as what it says; anything else as it is."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return message
    if isinstance(found, dict) and isinstance(found.get("body"), str):
        with suppress(ValueError, RecursionError):  # it is compressed, or in base64
            found = found | {"body": json.loads(found["body"])}
    return pretty(found)


def sentence(text: str) -> str:
    """
    >>> sentence("no such silence")
    'No such silence.'
    """
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
