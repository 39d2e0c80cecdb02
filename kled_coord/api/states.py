"""Routes: the versions of a workspace's Terraform state."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from kled_coord.api.answers import fields_of
from kled_coord.api.guard import CallerDep, RefDep, ServicesDep
from kled_coord.store.records import StateRecord

PATH = "/api/v1/workspaces/{ref}/states"
router = APIRouter(prefix=PATH, tags=["states"])
_STATE: Final = {"content": {"application/json": {"schema": {"type": "object"}}}}


class StateAnswer(BaseModel):
    """A version of a state, without its content.

    `build` is the number of the build that wrote it, null where `is_pushed`; `size_bytes` is null
    where Terraform had deleted the state.
    """

    version: int
    created_at: datetime
    build: int | None
    created_by: str | None
    is_pushed: bool
    size_bytes: int | None

    @classmethod
    def of(cls, record: StateRecord) -> StateAnswer:
        """Make one from a record."""
        return cls.model_validate(fields_of(record))


class PushedStateAnswer(BaseModel):
    """The version that a pushed state has become."""

    version: int


@router.get("")
async def list_states(ref: RefDep, services: ServicesDep, caller: CallerDep) -> list[StateAnswer]:
    """The versions of a workspace's state that are kept, the newest first."""
    found = await services.state_versions.list_for(caller, ref)
    return [StateAnswer.of(record) for record in found]


@router.get("/content", responses={200: _STATE})
async def pull_state(
    ref: RefDep,
    services: ServicesDep,
    caller: CallerDep,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """A version of the state, by default the newest, with every secret; for admins alone."""
    content = await services.state_versions.pull(caller, ref, version)
    headers = {"Cache-Control": "no-store"}
    return Response(content, media_type="application/json", headers=headers)


@router.post("/content", status_code=201, openapi_extra={"requestBody": _STATE})
async def push_state(
    ref: RefDep, request: Request, services: ServicesDep, caller: CallerDep
) -> PushedStateAnswer:
    """Make a state the newest version; for admins alone. It follows the one that is kept."""
    content = await request.body()
    return PushedStateAnswer(version=await services.state_versions.push(caller, ref, content))
