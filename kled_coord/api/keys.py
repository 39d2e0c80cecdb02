"""Routes: the caller's registered public keys."""

from __future__ import annotations

from fastapi import APIRouter

from kled_coord.api.bodies import NewKeyBody
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep
from kled_coord.api.user_answers import KeyAnswer
from kled_coord.policy.actions import Action
from kled_wire.names import parse_workspace_ref

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


@router.get("")
async def list_keys(services: ServicesDep, caller: CallerDep) -> list[KeyAnswer]:
    """The caller's keys."""
    return [KeyAnswer.of(key) for key in await services.keys.list_for(caller)]


@router.post("", status_code=201)
async def add_key(body: NewKeyBody, services: ServicesDep, caller: CallerDep) -> KeyAnswer:
    """Register a key; `unanswered` names the workspaces whose agents do not know it yet."""
    workspace = None
    if body.workspace is not None:
        ref = parse_workspace_ref(body.workspace)
        workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_SSH)
    added = await services.keys.add(
        caller,
        line=body.public_key,
        name=body.name,
        workspace=workspace,
        lifetime_s=body.lifetime_s,
    )
    return KeyAnswer.of(added.key, added.unanswered)


@router.delete("/{key_id}")
async def remove_key(key_id: NamePath, services: ServicesDep, caller: CallerDep) -> KeyAnswer:
    """Remove a key; `unanswered` names the workspaces whose agents may still let it in."""
    removed = await services.keys.remove(caller, key_id)
    return KeyAnswer.of(removed.key, removed.unanswered)
