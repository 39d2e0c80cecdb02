"""`kled ping`: round-trip times between this machine and a workspace."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import trio

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.terminal.interrupt import run
from kled_wire.errors import UnavailableError
from kled_wire.limits import REPLY_TIMEOUT_S
from kled_wire.names import WorkspaceRef
from kled_wire.resume.direct.paths import PathReport

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

_LEGS = {
    "client_coordinator_ms": "CLIENT-COORDINATOR",
    "coordinator_agent_ms": "COORDINATOR-AGENT",
    "end_to_end_ms": "END TO END",
}


@click.command()
@workspace_argument
@click.option("-c", "--count", type=click.IntRange(1, 1000), default=4, show_default=True)
@pass_invocation
def ping(invocation: Invocation, workspace: WorkspaceRef, count: int) -> int:
    """Measure round-trip times to WORKSPACE, in milliseconds.

    client-coordinator is one API request on an open connection. coordinator-agent is measured by
    the coordinator. end to end is one byte to `cat` and back over SSH. The last line names the
    path: direct, or the coordinator's relay with the reason.
    """
    return run(partial(_ping, invocation, workspace, count))


async def _ping(invocation: Invocation, ref: WorkspaceRef, count: int) -> None:
    rounds, path = await _measure(invocation, ref, count)
    medians = {leg: round(median(r[leg] for r in rounds), 3) for leg in _LEGS}
    if invocation.output.as_json:
        invocation.output.json(
            {"workspace": str(ref), "rounds": rounds, "median": medians, "path": path_object(path)}
        )
        return
    shown = [*rounds, medians]
    columns = {"": [*(str(number + 1) for number in range(count)), "median"]}
    columns |= {title: [f"{r[leg]:.2f} ms" for r in shown] for leg, title in _LEGS.items()}
    invocation.output.rows(shown, columns, "")
    invocation.output.line(f"path: {path}")


def path_object(path: PathReport) -> dict[str, Any]:
    """A path for programs; what does not apply is null."""
    rtt_ms = round(path.rtt_s * 1000, 3) if path.kind == "direct" else None
    address, reason = path.address or None, path.reason or None
    return {"kind": path.kind, "address": address, "rtt_ms": rtt_ms, "reason": reason}


async def _measure(
    invocation: Invocation, ref: WorkspaceRef, count: int
) -> tuple[list[dict[str, float]], PathReport]:
    from kled_client.ssh.connection import open_channel
    from kled_client.ssh.opening import make_seeker

    rounds = []
    async with invocation.api() as api:
        # The first request pays for the connection.
        await api.version()
        seeker = make_seeker(invocation.env, invocation.profile())
        async with invocation.ssh(ref, direct=seeker) as connection:
            channel = await open_channel(connection, "cat", env={})
            await seeker.wait_settled()
            await _echo(channel, ref)
            for _ in range(count):
                began = time.perf_counter()
                await api.version()
                to_coordinator = time.perf_counter() - began
                to_agent = (await api.ping(str(ref)))["coordinator_agent_ms"]
                rounds.append(
                    {
                        "client_coordinator_ms": round(to_coordinator * 1000, 3),
                        "coordinator_agent_ms": to_agent,
                        "end_to_end_ms": round(await _echo(channel, ref) * 1000, 3),
                    }
                )
            path = seeker.report()
            channel.close()
    return rounds, path


async def _echo(channel: Channel, ref: WorkspaceRef) -> float:
    """Seconds for one byte there and back."""
    began = time.perf_counter()
    with trio.move_on_after(REPLY_TIMEOUT_S):
        await channel.send(b"\n")
        if await channel.receive() is not None:
            return time.perf_counter() - began
    raise UnavailableError("no_echo", f"{ref} does not answer over SSH", hint=f"kled show {ref}")
