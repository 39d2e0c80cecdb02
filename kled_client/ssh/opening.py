"""Open an SSH connection to a workspace, over a stream through the coordinator.

Without asyncssh: it is imported while the coordinator and the agent answer. An agent imports it too
for its first stream, so that both ends do it at once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from kled_client.account.certificate import ensure_certificate
from kled_client.account.direct import make_paths
from kled_client.account.profile import Profile
from kled_client.ssh.resumable import dial_stream, open_resumable
from kled_wire.lasting_nursery import open_lasting_nursery
from kled_wire.limits import GOODBYE_S
from kled_wire.names import WorkspaceRef
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.stream import ResumableStream
from kled_wire.ssh.loading import load_with_asyncssh

if TYPE_CHECKING:
    import asyncssh

_CONNECTION: Final = "kled_client.ssh.connection"
# Of a connection's `get_extra_info`: says whether there is a way to the workspace now.
ATTACHED: Final = "kled_attached"


@asynccontextmanager
async def open_ssh(
    env: Mapping[str, str],
    profile: Profile,
    token: str,
    ref: WorkspaceRef,
    *,
    forward_agent: bool = False,
    on_change: Callable[[str], None] = lambda _reason: None,
    direct: DirectSeeker | None = None,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection that is up, closed when the block ends; it survives the network's changes.

    `on_change` is told why the transport was lost, and "" when there is one again. `direct` is for
    who wants to know which path it takes.
    Raises what the coordinator says, UnavailableError, UnauthenticatedError("ssh_refused").
    """
    path = f"/api/v1/workspaces/{ref}/stream?kind=ssh&resume=1"
    seeker = direct or make_seeker(env, profile)
    agent_socket = env.get("SSH_AUTH_SOCK", "") if forward_agent else ""
    async with open_lasting_nursery() as nursery, trio.open_nursery() as meanwhile:
        imported = trio.Event()
        meanwhile.start_soon(_import_connection, imported)
        identity = await trio.to_thread.run_sync(ensure_certificate, env, profile, token)
        dial = partial(dial_stream, profile, token, path, nursery)
        stream = await open_resumable(dial, nursery, seeker, on_change=on_change)
        async with _told(stream, nursery):
            await imported.wait()
            from kled_client.ssh.connection import log_in  # noqa: PLC0415  # it is imported

            async with log_in(stream, ref, identity, agent_socket=agent_socket) as connection:
                connection.set_extra_info(**{ATTACHED: lambda: stream.attached})
                yield connection


async def _import_connection(imported: trio.Event) -> None:
    """In a thread, so that the dial goes on."""
    await trio.to_thread.run_sync(load_with_asyncssh, _CONNECTION)
    imported.set()


@asynccontextmanager
async def _told(stream: ResumableStream, nursery: trio.Nursery) -> AsyncIterator[None]:
    """Close `stream` after the block, and let the tasks of `nursery` tell the workspace.

    An agent that is not told keeps its end, and what runs there, for a client that comes back.
    Nobody waits long for a network that is away.
    """
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
        if not stream.attached:
            nursery.cancel_scope.deadline = trio.current_time() + GOODBYE_S


def make_seeker(env: Mapping[str, str], profile: Profile) -> DirectSeeker:
    """What looks for direct paths for one connection. Raises ConfigError."""
    return DirectSeeker(make_paths(env, profile), os.urandom)
