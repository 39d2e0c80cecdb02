"""Route: an agent enrolls its SSH host key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from kled_coord.api.bodies import EnrollBody
from kled_coord.api.guard import AddressDep, AgentDep, ServicesDep
from kled_coord.workspaces.agents import AgentFacts

router = APIRouter(prefix="/api/v1/agent", tags=["agent"])


@router.post("/enroll")
async def enroll(
    body: EnrollBody, services: ServicesDep, agent: AgentDep, address: AddressDep
) -> dict[str, Any]:
    """Sign the agent's host key and say whom it lets in."""
    facts = AgentFacts(
        version=body.version, hostname=body.hostname, os=body.os, arch=body.arch, address=address
    )
    enrolled = await services.agents.enroll(agent, facts, host_public_key=body.host_public_key)
    return {
        "agent_id": agent.id,
        "workspace_id": enrolled.workspace.id,
        "workspace": enrolled.workspace.name,
        "owner": enrolled.workspace.owner_name,
        "host_certificate": enrolled.host_certificate,
        "user_ca": enrolled.user_ca,
        "principals": enrolled.principals,
        "names": enrolled.names,
        "environment": agent.environment or {},
        "directory": agent.directory or "",
    }
