"""What the urgency of a queue asks for."""

from collections.abc import Mapping
from types import MappingProxyType

QUEUEING_TARGETS: Mapping[str, int | None] = MappingProxyType({"urgent": 10, "standard": 60, "bulk": None})
"""Seconds within which a task should start, by urgency; None: whenever there is room."""

EXECUTION_TARGETS: Mapping[str, int | None] = MappingProxyType({"urgent": 10, "standard": 300, "bulk": 1800})
"""Seconds within which a task should end once it has begun, by urgency."""
