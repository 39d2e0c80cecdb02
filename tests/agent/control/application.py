"""What an agent serves at the end of a stream, in place of SSH."""

from __future__ import annotations

import trio

from kled_wire.control import messages
from kled_wire.eventlog import EventLog


async def echo(stream: trio.abc.HalfCloseableStream, _dial: messages.Dial, _log: EventLog) -> None:
    """Send everything back, then the end."""
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()
