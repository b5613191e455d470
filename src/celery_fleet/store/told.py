"""What others wrote as JSON, as an object: they may run another release, and tell more or less."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

_Told = TypeVar("_Told")


def read(kind: type[_Told], told: Mapping[str, Any], **changed: Any) -> _Told:
    """An object of this dataclass: what it does not know is left out, what is missing has its default."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**{**{name: told[name] for name in names if name in told}, **changed})
