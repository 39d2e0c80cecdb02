"""Route: the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from kled_coord.api.answers import AuditAnswer
from kled_coord.api.guard import CallerDep, ServicesDep
from kled_coord.policy.actions import Action, ActionTarget

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])


@router.get("")
async def list_audit(
    services: ServicesDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[AuditAnswer]:
    """The newest rows, the newest first."""
    await services.audit.require(caller, Action.AUDIT_READ, ActionTarget(kind="audit"))
    return [AuditAnswer.of(row) for row in await services.audit.newest(limit)]
