"""`kled stream` as the command line knows it: its help, and `--listen`.

Joining standard input and output is the work of `stream/command.py`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Any

import click
import trio

from kled_client.account.direct import make_paths
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import complete_profile, complete_workspace
from kled_client.forward.serve import listening_here
from kled_client.forward.spec import Forward, ForwardKind, parse_forward
from kled_client.ssh.resumable import dial_stream, open_resumable
from kled_client.stream import command
from kled_client.stream.listen import serve_streams
from kled_client.terminal.interrupt import run
from kled_wire.errors import InputError
from kled_wire.names import parse_workspace_ref
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.transport.address import parse_url


@click.command()
@click.argument("workspace", shell_complete=complete_workspace)
@click.option(
    "--kind", default="ssh", show_default=True, help="ssh, or tcp (a port of the workspace)."
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port for --kind tcp.")
@click.option("--fdpass", is_flag=True, help="Pass the socket to ssh (ProxyUseFdpass) and exit.")
@click.option(
    "--resume",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Whether the stream survives lost connections. auto: always, except for ssh to this "
    "machine over plain HTTP. never: plain HTTP only.",
)
@click.option(
    "--direct",
    type=click.Choice(["auto", "never"]),
    default="auto",
    help="Use a direct path to the agent when there is one.",
)
@click.option(
    "--listen",
    metavar="[ADDR:]PORT",
    help="Listen on this port; each connection opens a stream.",
)
@click.option("--profile", help="Profile to use.", shell_complete=complete_profile)
@pass_invocation
def stream(
    invocation: Invocation,
    /,
    port: int | None,
    profile: str | None,
    listen: str | None,
    **asked: Any,
) -> int:
    """Connect standard input and output to a byte stream into WORKSPACE.

    ssh runs this command for every connection (ProxyCommand; see kled config-ssh). It renews the
    SSH certificate first if that ends soon. --listen serves a local port instead, until Ctrl-C;
    SSH clients of that port authenticate with a certificate or a registered key (kled key).
    """
    used = profile or invocation.profile_name
    request = command.Request(port=port or 0, profile=used, **asked)
    if listen is None:
        command.run(request, invocation.env)
        return 0
    if request.fdpass:
        raise InputError("usage", "--listen and --fdpass exclude each other")
    return run(partial(_listen, replace(invocation, profile_name=used), request, _one_end(listen)))


def _one_end(text: str) -> Forward:
    """Where to listen. Raises InputError("forward_invalid"), InputError("usage")."""
    ends = parse_forward(text, ForwardKind.DYNAMIC)
    if len(ends) != 1:
        raise InputError("usage", "--listen takes one port")
    return ends[0]


async def _listen(invocation: Invocation, request: command.Request, forward: Forward) -> None:
    """Serve streams until cancelled. Raises what is wrong with the sign-in or the workspace."""
    path = command.stream_path(request.workspace, request.kind, request.port)
    command.is_resumable(request, parse_url(invocation.profile().url))  # raises what cannot be
    async with invocation.api() as api:
        # An error that a person must mend is reported now, not at the first connection.
        await api.workspace(str(parse_workspace_ref(request.workspace)))
    async with listening_here(forward) as (listeners, status):
        output = invocation.output
        if output.as_json:
            output.json_line({"event": "listening", "listen": str(status.listen)})
        else:
            output.line(f"listening on {status.listen}")
            output.flush()
        await serve_streams(listeners, partial(_open, invocation, request, path), output.note)


async def _open(
    invocation: Invocation, request: command.Request, path: str, nursery: trio.Nursery
) -> trio.abc.HalfCloseableStream:
    """One stream; the profile and its token are read anew, as they may have been renewed."""
    profile = invocation.profile()
    token = await trio.to_thread.run_sync(invocation.token)
    if not command.is_resumable(request, parse_url(profile.url)):
        return await dial_stream(profile, token, path, nursery)
    env = {**invocation.env, "KLED_DIRECT": "off"} if request.direct == "never" else invocation.env
    seeker = DirectSeeker(make_paths(env, profile), os.urandom)
    dial = partial(dial_stream, profile, token, f"{path}&resume=1", nursery)
    return await open_resumable(dial, nursery, seeker)
