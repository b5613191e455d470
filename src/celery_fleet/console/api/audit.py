"""What operators did."""

from typing import Annotated

from fastapi import APIRouter, Query

from .. import audits
from ..auth import Viewer
from ..fleet import FleetOf
from ..models.audit import AuditList

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])


@router.get("")
def list_audit(
    fleet: FleetOf,
    _: Viewer,
    before: Annotated[
        str, Query(pattern=r"^(\d{1,19}-\d{1,19})?$", description="`next` of an earlier answer.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> AuditList:
    """Newest first."""
    return audits.entries(fleet, before, limit)
