"""The asking side of the SSH subsystem `kled-session`: one request on a channel of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from kled_wire.errors import ProtocolError, from_status

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

SUBSYSTEM = "kled-session"
# A line holds at most one frame of output in base64; more is not ours.
LINE_BYTES = 1024 * 1024


async def ask_sessions(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to `request`.

    Raises the agent's error, ProtocolError("session_answer_malformed").
    """
    async with aclosing(_answers(channel, request)) as answers:
        async for answer in answers:
            if "ok" in answer:
                return answer
    raise _malformed("no answer")


async def copy_log(
    channel: Channel, request: dict[str, Any], write: Callable[[bytes], object]
) -> None:
    """Give a session's log to `write`, piece by piece. Raises as `ask_sessions`."""
    async with aclosing(_answers(channel, request)) as answers:
        async for answer in answers:
            if "ok" in answer:
                return
            try:
                write(base64.b64decode(answer["data"], validate=True))
            except (KeyError, ValueError) as exc:
                raise _malformed("no data") from exc
    raise _malformed("the log broke off")


async def _answers(
    channel: Channel, request: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    await channel.send(json.dumps(request).encode() + b"\n")
    channel.send_eof()
    held = b""
    try:
        while (received := await channel.receive()) is not None:
            held += received[0]
            *lines, held = held.split(b"\n")
            for line in lines:
                yield _parse(line)
            if len(held) > LINE_BYTES:
                raise _malformed("a line is too long")
    finally:
        channel.close()


def _parse(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        if answer.get("ok", True):
            return dict(answer)
        error = answer["error"]
        failure = from_status(
            int(error["status"]), str(error["code"]), str(error["message"]), error.get("hint")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _malformed("not the JSON we know") from exc
    raise failure


def _malformed(why: str) -> ProtocolError:
    return ProtocolError("session_answer_malformed", f"the agent's answer is malformed: {why}")
