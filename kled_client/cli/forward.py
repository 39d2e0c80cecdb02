"""`kled forward`: ports of the workspace, reachable from this machine."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

import click

from kled_client.cli.context import Session, pass_session, workspace_argument
from kled_client.forward_spec import ForwardSpec, parse_forward
from kled_client.interrupt import run
from kled_wire.errors import ConflictError, InputError, UnavailableError
from kled_wire.names import WorkspaceRef

if TYPE_CHECKING:
    import asyncssh


@click.command()
@workspace_argument
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@pass_session
def forward(session: Session, workspace: WorkspaceRef, specs: tuple[str, ...]) -> int:
    """Listen here and connect there, until Ctrl-C.

    A SPEC is PORT, LOCAL:REMOTE, LOCAL:HOST:REMOTE or BIND:LOCAL:HOST:REMOTE; HOST is as the
    workspace sees it. Without BIND only this machine can connect. LOCAL 0 takes a free port.
    """
    parsed = [parse_forward(spec) for spec in specs]
    return run(partial(_forward, session, workspace, parsed))


async def _forward(session: Session, ref: WorkspaceRef, specs: list[ForwardSpec]) -> None:
    from kled_client.ssh import aio  # noqa: PLC0415  # asyncssh, only when it runs

    async with session.ssh(ref) as connection:
        ports = [await _listen(connection, spec) for spec in specs]
        rows = [
            {"local": f"{s.bind}:{port}", "remote": f"{s.host}:{s.remote}"}
            for s, port in zip(specs, ports, strict=True)
        ]
        columns = {
            "LOCAL": [row["local"] for row in rows],
            "WORKSPACE": [row["remote"] for row in rows],
        }
        session.output.rows(rows, columns, "")
        session.output.results.file.flush()
        session.output.note("forwarding; Ctrl-C ends it")
        await aio(connection.wait_closed)
    raise UnavailableError(
        "connection_lost", f"the connection to {ref} ended", hint=f"kled ping {ref}"
    )


async def _listen(connection: asyncssh.SSHClientConnection, spec: ForwardSpec) -> int:
    """Open one local port; returns its number."""
    from kled_client.ssh import aio  # noqa: PLC0415

    try:
        listener = await aio(
            connection.forward_local_port, spec.bind, spec.local, spec.host, spec.remote
        )
    except OSError as exc:
        where = f"{spec.bind}:{spec.local}"
        if exc.errno == errno.EADDRINUSE:
            raise ConflictError(
                "port_in_use",
                f"{where} is in use on this machine",
                hint=f"choose another one, for instance 0:{spec.remote} for any free port",
            ) from exc
        raise InputError(
            "cannot_listen", f"cannot listen on {where}: {exc.strerror or exc}"
        ) from exc
    return int(listener.get_port())
