"""Two small general jobs: `process` describes data, `calculate` calculates."""

import hashlib
import json
import math
import statistics
from collections import Counter
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, JsonValue

from taskapp.operation import operation

Numbers = Annotated[list[FiniteFloat], Field(min_length=1, max_length=100_000)]


@operation("taskapp.jobs.process")
def process(_self: Any, data: JsonValue) -> dict[str, Any]:
    """Size, digest and content of any JSON value: the words of a text, the types of a collection's items."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    result: dict[str, Any] = {
        "type": type(data).__name__,
        "bytes": len(canonical),
        "sha256": hashlib.sha256(canonical).hexdigest(),
    }
    if isinstance(data, str):
        words = data.split()
        result |= {"words": len(words), "most_common": Counter(words).most_common(3)}
    elif isinstance(data, list | dict):
        items = data.values() if isinstance(data, dict) else data
        result |= {"items": len(data), "types": dict(Counter(type(item).__name__ for item in items))}
    return result


@operation("taskapp.jobs.calculate")
def calculate(_self: Any, data: Annotated[int, Field(ge=1, le=10**12)] | Numbers) -> dict[str, Any]:
    """The prime factors of an integer, or the statistics of a list of numbers."""
    if isinstance(data, int):
        return {"number": data, "factors": factors(data)}
    return {
        "count": len(data),
        "sum": math.fsum(data),
        "mean": statistics.fmean(data),
        "deviation": statistics.pstdev(data),
        "minimum": min(data),
        "maximum": max(data),
    }


def factors(number: int) -> list[int]:
    """The prime factors in ascending order, by trial division."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1 if divisor == 2 else 2
    return [*found, number] if number > 1 else found
