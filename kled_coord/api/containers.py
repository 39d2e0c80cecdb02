"""Routes: what a workspace's containers on this machine print."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response

from kled_coord.api.guard import CallerDep, NamePath, RefDep, ServicesDep
from kled_coord.masking import Mask
from kled_coord.policy.actions import Action
from kled_coord.terraform.providers import load_providers
from kled_wire.errors import NotFoundError, UnavailableError
from kled_wire.names import WorkspaceId

router = APIRouter(prefix="/api/v1/workspaces/{ref}/containers", tags=["containers"])
OUTPUT_MAX_BYTES: Final = 256 * 1024


@router.get("/{name}/output")
async def get_container_output(
    ref: RefDep, name: NamePath, services: ServicesDep, caller: CallerDep
) -> Response:
    """What a container has printed last, as text."""
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_OUTPUT)
    found = await _read(workspace.id, name)
    if found is None:
        raise NotFoundError(
            "container_output_not_found",
            f"there is no log of a container {name} of {workspace.name} here",
            hint="name a kata_container of its template; the log goes with the container",
        )
    mask = Mask(await services.secrets.values(workspace.id))
    text, _ = mask.hide_begun(found, final=True)
    # Bytes as they were printed: no browser is to take them for a page.
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


async def _read(workspace_id: WorkspaceId, name: str) -> bytes | None:
    for provider in load_providers():
        try:
            found = await provider.container_output(workspace_id, name, OUTPUT_MAX_BYTES)
        except OSError as error:
            raise UnavailableError(
                "container_output_unreadable",
                f"the log of container {name} cannot be read here: {error.strerror}",
                hint="it is root's: ask the owner of the machine",
            ) from error
        if found is not None:
            return found
    return None
