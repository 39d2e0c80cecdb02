"""Routes: Terraform's `http` backend, with basic auth by a build's id and secret.

https://developer.hashicorp.com/terraform/language/backend/http
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from kled_coord.api.guard import NamePath, ServicesDep, vouch
from kled_coord.builds.states.backend import StateLockedError, StateWriter
from kled_coord.services import Services
from kled_coord.store.errors import StoreError
from kled_wire.errors import UnauthenticatedError
from kled_wire.names import BuildId

PREFIX: Final = "/api/v1/tfstate"
router = APIRouter(prefix=PREFIX, include_in_schema=False)
_PATH: Final = "/{workspace_id}"


@asynccontextmanager
async def _room_for_a_file(services: Services, build_id: str) -> AsyncIterator[None]:
    """Where the database takes nothing, Terraform tries twice more and then writes a file."""
    try:
        yield
    except StoreError:
        await services.runs.make_room(BuildId(build_id))
        raise


async def writer_of(request: Request, services: ServicesDep, workspace_id: NamePath) -> StateWriter:
    """The build that asks. Raises UnauthenticatedError."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    build_id, found, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not found or not decoded.isprintable():
        raise UnauthenticatedError(
            "build_secret_missing", "the id and the secret of a build are required"
        )
    async with _room_for_a_file(services, build_id):
        writer = await services.states.authenticate(workspace_id, build_id, secret)
    vouch(request)
    return writer


WriterDep = Annotated[StateWriter, Depends(writer_of)]
LockIdDep = Annotated[str | None, Query(alias="ID", max_length=100)]


@router.get(_PATH)
async def read_state(services: ServicesDep, writer: WriterDep) -> Response:
    """The newest state; 204 when there is none."""
    content = await services.states.read(writer)
    if content is None:
        return Response(status_code=204)
    return Response(content, media_type="application/json")


@router.post(_PATH)
async def write_state(
    request: Request, services: ServicesDep, writer: WriterDep, lock_id: LockIdDep = None
) -> Response:
    """Append a version of the state."""
    content = await request.body()
    async with _room_for_a_file(services, writer.build_id):
        await services.states.write(writer, content, lock_id)
    return Response(status_code=200)


@router.delete(_PATH)
async def delete_state(
    services: ServicesDep, writer: WriterDep, lock_id: LockIdDep = None
) -> Response:
    """Say that there is no state any more; earlier versions are kept."""
    await services.states.write(writer, None, lock_id)
    return Response(status_code=200)


@router.api_route(_PATH, methods=["LOCK"])
async def lock_state(request: Request, services: ServicesDep, writer: WriterDep) -> Response:
    """Take the lock; 423 with the holder's when it is taken."""
    try:
        await services.states.lock(writer, await request.body())
    except StateLockedError as error:
        return Response(error.holder.info, status_code=423, media_type="application/json")
    return JSONResponse({})


@router.api_route(_PATH, methods=["UNLOCK"])
async def unlock_state(request: Request, services: ServicesDep, writer: WriterDep) -> Response:
    """Release the lock."""
    await services.states.unlock(writer, await request.body())
    return JSONResponse({})
