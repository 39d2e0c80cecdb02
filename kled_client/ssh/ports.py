"""The listening ports of the workspace: the client's side of the SSH subsystem `kled-ports`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from kled_wire.ssh.subsystems import (
    ANSWER_BYTES,
    LineReader,
    ReportedPort,
    decode_ports,
    ports_malformed,
)

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel


async def watch_ports(channel: Channel) -> AsyncGenerator[list[ReportedPort], None]:
    """What listens now, and at each change. Raises ProtocolError("ports_answer_malformed")."""
    lines = LineReader(ANSWER_BYTES)
    try:
        while (received := await channel.receive()) is not None:
            data, is_stderr = received
            if is_stderr:
                continue
            lines.feed(data)
            while (line := lines.next_line()) is not None:
                yield decode_ports(line)
            if lines.overlong:
                raise ports_malformed("a line is too long")
    finally:
        channel.close()
