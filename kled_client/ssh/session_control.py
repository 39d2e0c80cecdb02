"""The asking side of the SSH subsystem `kled-session`: one request on a channel of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from kled_wire.ssh.subsystems import (
    ANSWER_BYTES,
    LineReader,
    SessionCommand,
    decode_session_answer,
    decode_session_data,
    encode_session_command,
    session_malformed,
)

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel


async def ask_sessions(channel: Channel, request: SessionCommand) -> dict[str, Any]:
    """The answer to `request`.

    Raises the agent's error, ProtocolError("session_answer_malformed").
    """
    async with aclosing(_answers(channel, request)) as answers:
        async for answer in answers:
            if "ok" in answer:
                return answer
    raise session_malformed("no answer")


async def copy_log(
    channel: Channel, request: SessionCommand, write: Callable[[bytes], object]
) -> None:
    """Give a session's log to `write`, piece by piece. Raises as `ask_sessions`."""
    async with aclosing(_answers(channel, request)) as answers:
        async for answer in answers:
            if "ok" in answer:
                return
            write(decode_session_data(answer))
    raise session_malformed("the log broke off")


async def _answers(
    channel: Channel, request: SessionCommand
) -> AsyncGenerator[dict[str, Any], None]:
    await channel.send(encode_session_command(request))
    channel.send_eof()
    lines = LineReader(ANSWER_BYTES)
    try:
        while (received := await channel.receive()) is not None:
            lines.feed(received[0])
            while (line := lines.next_line()) is not None:
                yield decode_session_answer(line)
            if lines.overlong:
                raise session_malformed("a line is too long")
    finally:
        channel.close()
