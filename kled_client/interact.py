"""Run one SSH session on our standard streams: input, output, size, exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kled_client.escapes import EscapeFilter
from kled_client.terminal import follow_size, read_input, write_output

if TYPE_CHECKING:
    from kled_client.ssh_channel import Channel

LEFT = 255


async def run_session(channel: Channel, descriptor: int, *, interactive: bool) -> int:
    """Carry the session to its end; returns the exit code for our own shell.

    Raises what broke the connection, BrokenPipeError when nobody reads our output.
    """
    from kled_client.ssh import exit_code  # noqa: PLC0415  # asyncssh, only when it runs

    code = LEFT
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_input, channel, descriptor, interactive, nursery.cancel_scope)
        if interactive:
            nursery.start_soon(follow_size, descriptor, channel.resize)
        while (received := await channel.receive()) is not None:
            data, is_stderr = received
            await write_output(data, is_stderr=is_stderr)
        await channel.wait_closed()
        code = exit_code(channel)
        nursery.cancel_scope.cancel()
    channel.close()
    return code


async def _send_input(
    channel: Channel, descriptor: int, interactive: bool, scope: trio.CancelScope
) -> None:
    escapes = EscapeFilter()
    while data := await read_input(descriptor):
        if not interactive:
            await channel.send(data)
            continue
        out, leaving = escapes.feed(data)
        if out:
            await channel.send(out)
        if leaving:
            scope.cancel()
            return
    channel.send_eof()
