"""Dependencies of routes: the services, the caller, and the workspace that a path names.

Authentication happens here, the policy and the audit log inside the services, so that no route can
forget them.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Final, cast

from fastapi import Depends, Path, Request

from kled_coord.api.bodies import Printable
from kled_coord.front.admission import VOUCHED
from kled_coord.identity.service import AgentRevokedError
from kled_coord.policy.decide import Caller
from kled_coord.services import Services
from kled_coord.store.records import AgentRecord
from kled_wire.errors import UnauthenticatedError
from kled_wire.names import (
    VERSION_NAME_MAX,
    BuildId,
    WorkspaceRef,
    parse_version,
    parse_workspace_ref,
)

# What proxies add (RFC 7239, and what was there before it).
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


async def services_of(request: Request) -> Services:
    """The services the application was made with."""
    return cast("Services", request.app.state.services)


ServicesDep = Annotated[Services, Depends(services_of)]
# A name or an id in a path.
NamePath = Annotated[str, Path(max_length=100), Printable]


async def bearer_of(request: Request) -> str:
    """The bearer token. Raises UnauthenticatedError("token_missing")."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError(
            "token_missing", "a token is required", hint="log in first: kled login URL"
        )
    return token.strip()


BearerDep = Annotated[str, Depends(bearer_of)]


async def caller_of(request: Request, services: ServicesDep, bearer: BearerDep) -> Caller:
    """Who asks. Raises UnauthenticatedError."""
    caller = await services.identity.authenticate(bearer)
    vouch(request)
    return caller


async def agent_of(request: Request, services: ServicesDep, bearer: BearerDep) -> AgentRecord:
    """The agent that asks. Raises UnauthenticatedError."""
    try:
        agent = await services.identity.authenticate_agent(bearer)
    except AgentRevokedError as error:
        services.registry.refused(error.agent, error.message, services.clock())
        raise
    vouch(request)
    return agent


def vouch(request: Request) -> None:
    """Note that the caller is authenticated: the connection no longer counts as a stranger's."""
    getattr(request.state, VOUCHED, _nothing)()


def _nothing() -> None:
    """Where the application is served without a front."""


async def address_of(request: Request) -> str:
    """The client's address, "" when unknown; not that of a trusted proxy it comes through."""
    return request.client.host if request.client else ""


async def is_local(request: Request) -> bool:
    """Whether a program on this machine asks us, and not a proxy here for somebody elsewhere.

    Whoever names a client in a header, trusted or not, is none: the client of a proxy may well
    have a loopback address, or say so. A proxy that passes on neither who asks nor under which
    name cannot be told from one.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    return _is_loopback(await address_of(request)) and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


async def ref_of(ref: Annotated[str, Path(max_length=100)]) -> WorkspaceRef:
    """The workspace a path names. Raises InputError."""
    return parse_workspace_ref(ref)


async def version_of(
    version: Annotated[str, Path(max_length=VERSION_NAME_MAX)],
) -> int | str:
    """The version of a template that a path names, by number or name. Raises InputError."""
    return parse_version(version)


async def build_id_of(build_id: NamePath) -> BuildId:
    """The build a path names."""
    return BuildId(build_id)


CallerDep = Annotated[Caller, Depends(caller_of)]
AgentDep = Annotated[AgentRecord, Depends(agent_of)]
LocalDep = Annotated[bool, Depends(is_local)]
AddressDep = Annotated[str, Depends(address_of)]
RefDep = Annotated[WorkspaceRef, Depends(ref_of)]
VersionDep = Annotated[int | str, Depends(version_of)]
BuildIdDep = Annotated[BuildId, Depends(build_id_of)]
