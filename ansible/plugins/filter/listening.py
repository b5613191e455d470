"""`flower_address | is_loopback`, `console_listen | beyond_loopback`, `flower_address | found_at(celery_plan.address)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))
from listening import beyond_loopback, found_at, is_loopback


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"is_loopback": is_loopback, "beyond_loopback": beyond_loopback, "found_at": found_at}
