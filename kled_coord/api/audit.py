"""Routes: the audit log, and the record of streams to workspaces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from kled_coord.api.answers import AuditAnswer, ConnectionAnswer
from kled_coord.api.bodies import AuditQuery, ConnectionQuery
from kled_coord.api.guard import CallerDep, ServicesDep
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.store.filters import AuditFilter, SessionFilter
from kled_wire.names import parse_workspace_ref

router = APIRouter(prefix="/api/v1", tags=["audit"])


@router.get("/audit")
async def list_audit(
    services: ServicesDep, caller: CallerDep, asked: Annotated[AuditQuery, Query()]
) -> list[AuditAnswer]:
    """The newest rows that fit, the newest first."""
    await services.audit.require(caller, Action.AUDIT_READ, ActionTarget(kind="audit"))
    wanted = AuditFilter(**asked.model_dump(exclude={"limit"}))
    return [AuditAnswer.of(row) for row in await services.audit.newest(asked.limit, wanted)]


@router.get("/connections")
async def list_connections(
    services: ServicesDep, caller: CallerDep, asked: Annotated[ConnectionQuery, Query()]
) -> list[ConnectionAnswer]:
    """The newest streams that fit, the newest first; who may not see all sees their own."""
    place = None if asked.workspace is None else parse_workspace_ref(asked.workspace)
    rest = asked.model_dump(exclude={"limit", "workspace"})
    wanted = SessionFilter(workspace=place, **rest)
    found = await services.sessions.newest(caller, wanted, asked.limit)
    return [ConnectionAnswer.of(row) for row in found]
