"""Routes: the caller's API tokens."""

from __future__ import annotations

from fastapi import APIRouter

from kled_coord.api.bodies import NewTokenBody
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep
from kled_coord.api.user_answers import TokenAnswer

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])


@router.get("")
async def list_tokens(services: ServicesDep, caller: CallerDep) -> list[TokenAnswer]:
    """The caller's tokens."""
    return [TokenAnswer.of(token) for token in await services.identity.tokens(caller)]


@router.post("", status_code=201)
async def create_token(body: NewTokenBody, services: ServicesDep, caller: CallerDep) -> TokenAnswer:
    """Make a token; its secret is in this answer and nowhere else."""
    new = await services.identity.create_token(
        caller, name=body.name, scopes=tuple(body.scopes), lifetime_s=body.lifetime_s
    )
    return TokenAnswer.of(new.token, new.secret)


@router.delete("/{token_id}", status_code=204)
async def revoke_token(token_id: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """Revoke a token."""
    await services.identity.revoke(caller, token_id)
