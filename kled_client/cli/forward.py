"""`kled forward` and `kled ports`: port forwarding, and the ports of a workspace."""

from __future__ import annotations

import contextlib
import resource
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.forward.hold import ForwardPlan, hold_forwards
from kled_client.forward.link import Link
from kled_client.forward.spec import Forward, ForwardKind, parse_forward
from kled_client.forward.view import ForwardView
from kled_client.ssh.ports import watch_ports
from kled_client.terminal.interrupt import run
from kled_wire.errors import InputError, UnavailableError
from kled_wire.names import WorkspaceRef
from kled_wire.ssh.subsystems import PORTS, ReportedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILES_MAX: Final = 10_240


@click.command()
@workspace_argument
@click.argument("specs", nargs=-1, metavar="[SPEC]...")
@click.option(
    "--remote",
    "-R",
    multiple=True,
    metavar="SPEC",
    help="Listen in the workspace, connect from here.",
)
@click.option(
    "--dynamic",
    "-D",
    multiple=True,
    metavar="[ADDR:]PORT",
    help="Serve a SOCKS5 proxy on this machine.",
)
@click.option("--udp", multiple=True, metavar="SPEC", help="Forward UDP instead of TCP.")
@click.option("--auto", is_flag=True, help="Forward every listening port, as ports open and close.")
@pass_invocation
def forward(
    invocation: Invocation,
    workspace: WorkspaceRef,
    specs: tuple[str, ...],
    remote: tuple[str, ...],
    dynamic: tuple[str, ...],
    udp: tuple[str, ...],
    auto: bool,
) -> int:
    """Forward local ports to a workspace until Ctrl-C.

    A SPEC is PORT, LOCAL:REMOTE, LOCAL:HOST:REMOTE or BIND:LOCAL:HOST:REMOTE; the workspace
    resolves HOST. Without BIND only this machine can connect. LOCAL 0 selects a free port,
    3000-3010 is a range, and either side may be the path of a Unix socket: /a.sock:/b.sock.

    Connections survive a change of network. When the workspace's agent restarts, its connections
    end and kled connects again; the local ports stay open.
    """
    plan = ForwardPlan(forwards=parse_all(specs, remote, dynamic, udp), auto=auto)
    return run(partial(hold, invocation, workspace, plan))


def parse_all(
    local: Sequence[str], remote: Sequence[str], dynamic: Sequence[str], udp: Sequence[str]
) -> tuple[Forward, ...]:
    """All of the forwards. Raises InputError("forward_invalid")."""
    asked = (
        (ForwardKind.LOCAL, local),
        (ForwardKind.REMOTE, remote),
        (ForwardKind.DYNAMIC, dynamic),
        (ForwardKind.UDP, udp),
    )
    return tuple(
        found for kind, texts in asked for text in texts for found in parse_forward(text, kind)
    )


async def hold(
    invocation: Invocation,
    ref: WorkspaceRef,
    plan: ForwardPlan,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Hold the forwards of `plan` up until cancelled, or a person has to act.

    `on_ready` is called once all of them listen.
    """
    from kled_client.forward.ssh import asyncio_world, open_connection

    if not plan.forwards and not plan.auto:
        raise InputError("forward_missing", "no forward is given", hint=f"kled forward {ref} 8080")
    _allow_many_sockets()
    view = ForwardView(invocation.output, str(ref), on_ready)
    connect = partial(invocation.ssh, ref, on_change=view.link_changed)
    async with asyncio_world():
        await hold_forwards(plan, partial(open_connection, connect), Link(), view)


def _allow_many_sockets() -> None:
    """As many files as we may have: the usual soft limits (1024; macOS 256) are for select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@click.command()
@workspace_argument
@pass_invocation
def ports(invocation: Invocation, workspace: WorkspaceRef) -> int:
    """List the listening TCP ports of WORKSPACE."""
    return run(partial(_ports, invocation, workspace))


async def _ports(invocation: Invocation, ref: WorkspaceRef) -> None:
    found = await _ask(invocation, ref)
    raw = [
        {
            "port": port.port,
            "addresses": list(port.addresses),
            "process": port.process or None,
            "pid": port.pid,
            "mine": port.mine,
        }
        for port in found
    ]
    columns = {
        "PORT": [str(port.port) for port in found],
        "ADDRESSES": [", ".join(port.addresses) for port in found],
        "PROCESS": [port.process or "-" for port in found],
        "PID": [str(port.pid or "-") for port in found],
    }
    invocation.output.rows(raw, columns, f"nothing listens in {ref}", spare=("PID",))


async def _ask(invocation: Invocation, ref: WorkspaceRef) -> list[ReportedPort]:
    from kled_client.ssh.connection import open_channel

    async with invocation.ssh(ref) as connection:
        channel = await open_channel(connection, None, env={}, subsystem=PORTS)
        channel.send_eof()
        async for found in watch_ports(channel):
            return found
    raise UnavailableError(
        "ports_unknown", f"the agent of {ref} does not report its listening ports"
    )
