"""The dashboard's figures."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from taskapp.figures import figures
from taskapp.files import write_atomically
from taskapp.operation import operation
from taskapp.settings import current
from taskapp.store import current_store


@operation("afirgen_tasks.analytics.update_dashboard")
def update_dashboard(_self: Any, hours: Annotated[int, Field(ge=1, le=8784)] = 24) -> dict[str, Any]:
    """Compute the figures of the last `hours` into `<state_dir>/dashboard.json`."""
    path = current().state_dir / "dashboard.json"
    content = {
        "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **figures(current_store(), hours),
    }
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")
    return {"path": str(path), **content}
