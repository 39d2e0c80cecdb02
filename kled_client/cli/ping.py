"""`kled ping`: where the time goes between here and the workspace."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import click
import trio

from kled_client.cli.context import Session, pass_session, workspace_argument
from kled_client.interrupt import run
from kled_wire.errors import UnavailableError
from kled_wire.limits import REPLY_TIMEOUT_S
from kled_wire.names import WorkspaceRef

if TYPE_CHECKING:
    from kled_client.ssh_channel import Channel

_LEGS = {
    "client_coordinator_ms": "CLIENT-COORDINATOR",
    "coordinator_agent_ms": "COORDINATOR-AGENT",
    "end_to_end_ms": "END TO END",
}


@click.command()
@workspace_argument
@click.option("-c", "--count", type=click.IntRange(1, 1000), default=4, show_default=True)
@pass_session
def ping(session: Session, workspace: WorkspaceRef, count: int) -> int:
    """Measure round trips, in milliseconds.

    Client-coordinator is one API request on an open connection. Coordinator-agent is the
    coordinator's own measurement. End to end is one byte to `cat` and back over SSH.
    """
    return run(partial(_ping, session, workspace, count))


async def _ping(session: Session, ref: WorkspaceRef, count: int) -> None:
    rounds = await _measure(session, ref, count)
    medians = {leg: round(median(r[leg] for r in rounds), 3) for leg in _LEGS}
    if session.output.as_json:
        session.output.json({"workspace": str(ref), "rounds": rounds, "median": medians})
        return
    shown = [*rounds, medians]
    columns = {"": [*(str(number + 1) for number in range(count)), "median"]}
    columns |= {title: [f"{r[leg]:.2f} ms" for r in shown] for leg, title in _LEGS.items()}
    session.output.rows(shown, columns, "")


async def _measure(session: Session, ref: WorkspaceRef, count: int) -> list[dict[str, float]]:
    from kled_client.ssh import open_channel  # noqa: PLC0415  # asyncssh, only when it runs

    rounds = []
    async with session.api() as api:
        # The first request pays for the connection.
        await api.version()
        async with session.ssh(ref) as connection:
            channel = await open_channel(connection, "cat", env={})
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
            channel.close()
    return rounds


async def _echo(channel: Channel, ref: WorkspaceRef) -> float:
    """Seconds for one byte there and back."""
    began = time.perf_counter()
    with trio.move_on_after(REPLY_TIMEOUT_S):
        await channel.send(b"\n")
        if await channel.receive() is not None:
            return time.perf_counter() - began
    raise UnavailableError("no_echo", f"{ref} does not answer over SSH", hint=f"kled show {ref}")
