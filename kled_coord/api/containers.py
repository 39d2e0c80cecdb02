"""Routes: what a workspace's containers on this machine print."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from fastapi import APIRouter, Response

from kled_coord.api.builds import Admitted
from kled_coord.api.guard import BearerDep, CallerDep, NamePath, RefDep, ServicesDep
from kled_coord.masking import Mask
from kled_coord.policy.actions import Action
from kled_coord.terraform.providers import load_providers
from kled_wire.errors import NotFoundError, UnavailableError

router = APIRouter(prefix="/api/v1/workspaces/{ref}/containers", tags=["containers"])
OUTPUT_MAX_BYTES: Final = 256 * 1024
# Bytes as they were printed: no browser is to take them for a page.
_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = {"X-Content-Type-Options": "nosniff"}


@router.get("/{name}/output")
async def get_container_output(
    ref: RefDep,
    name: NamePath,
    services: ServicesDep,
    caller: CallerDep,
    bearer: BearerDep,
    *,
    follow: bool = False,
) -> Response:
    """What a container has printed last, as text; with `follow` and what it prints, until it goes.

    What `follow` shows of one that is made again by another build goes on with that.
    """
    workspace = await services.workspaces.resolve(caller, ref, Action.WORKSPACE_OUTPUT)
    mask = Mask(await services.secrets.values(workspace.id))
    for provider in load_providers():
        with _readable(name):
            if follow:
                read = partial(provider.follow_output, workspace.id, name)
                begun = await read("", OUTPUT_MAX_BYTES)
            else:
                found = await provider.container_output(workspace.id, name, OUTPUT_MAX_BYTES)
        if follow and begun is not None:
            pieces = _follow(read, begun, mask)
            return Admitted(services.identity, bearer, pieces, media_type=_TEXT, headers=_HEADERS)
        if not follow and found is not None:
            text, _ = mask.hide_begun(found, final=True)
            return Response(text, media_type=_TEXT, headers=_HEADERS)
    raise NotFoundError(
        "container_output_not_found",
        f"there is no log of a container {name} of {workspace.name} here",
        hint="name a kata_container of its template; the log goes with the container",
    )


async def _follow(
    read: Callable[[str, int], Awaitable[tuple[bytes, str] | None]],
    begun: tuple[bytes, str],
    mask: Mask,
) -> AsyncIterator[bytes]:
    """Read on until the log is gone, or cannot be read any more."""
    found: tuple[bytes, str] | None = begun
    data = b""
    with suppress(OSError):
        while found is not None:
            data += found[0]
            text, taken = mask.hide_begun(data, final=False)
            data = data[taken:]
            if text:
                yield text
            found = await read(found[1], OUTPUT_MAX_BYTES)
    yield mask.hide_begun(data, final=True)[0]


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            "container_output_unreadable",
            f"the log of container {name} cannot be read here: {error.strerror}",
            hint="it is root's: ask the owner of the machine",
        ) from error
